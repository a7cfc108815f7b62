package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/atomicfile"
)

// writeFile writes a file that is the old one or the whole new one, never half of
// it.
func writeFile(path string, data []byte) error { return writeMode(path, data, 0o644) }

// writePrivate is writeFile of a file that only its owner may read.
func writePrivate(path string, data []byte) error { return writeMode(path, data, 0o600) }

func writeMode(path string, data []byte, mode os.FileMode) error {
	return atomicfile.Write(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// checkOutput refuses, before the work begins, a path to which nothing can be
// written, or where something else than a file would be replaced. name is what
// the user gave it by, such as --out.
func checkOutput(name, path string) error {
	if path == "" {
		return fmt.Errorf("%s is empty; name a file", name)
	}
	switch info, err := os.Stat(path); {
	case err != nil: // mostly: not there yet
	case info.IsDir():
		return fmt.Errorf("%s %s is a folder; name a file in it", name, path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s %s is a device or a pipe; name an ordinary file", name, path)
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s %s: there is no folder %s", name, path, dir)
	}
	f, err := os.CreateTemp(dir, ".lowrank-*")
	if err != nil {
		return fmt.Errorf("%s %s: nothing can be written to the folder %s (%w); name a file elsewhere", name, path, dir, atomicfile.Reason(err))
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// sameFile reports whether two paths are of one file.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return os.SameFile(x, y)
	}
	a, errX = filepath.Abs(a)
	b, errY = filepath.Abs(b)
	return errX == nil && errY == nil && a == b
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
