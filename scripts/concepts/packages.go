package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// npmPackage is pictures as npm has them, pinned to their bytes.
type npmPackage struct{ spec, file, sha256 string }

var (
	openMoji = npmPackage{"openmoji@17.0.0", "openmoji-17.0.0.tgz", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"}
	fluent   = npmPackage{"@lobehub/fluent-emoji-3d@1.1.0", "lobehub-fluent-emoji-3d-1.1.0.tgz", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"}
)

// fetch brings the package into the cache, unless it is there, and returns its path.
func (p npmPackage) fetch(cache string) (string, error) {
	path := filepath.Join(cache, p.file)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		cmd := exec.Command("npm", "pack", p.spec, "--pack-destination", cache, "--silent")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("npm pack %s: %w", p.spec, err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != p.sha256 {
		return "", fmt.Errorf("%s is not what it was: its SHA-256 is %s", p.file, sum)
	}
	return path, nil
}

// read returns the named files of the package.
func (p npmPackage) read(cache string, names map[string]bool) (map[string][]byte, error) {
	path, err := p.fetch(cache)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	found := map[string][]byte{}
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if names[h.Name] {
			if found[h.Name], err = io.ReadAll(t); err != nil {
				return nil, err
			}
		}
	}
	for name := range names {
		if found[name] == nil {
			return nil, fmt.Errorf("%s has no %s", p.file, name)
		}
	}
	return found, nil
}
