package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile writes data beside path, flushes it, and renames it into place:
// path is the old file or the whole new one, never half of it.
func writeFile(path string, data []byte) error { return writeMode(path, data, 0o644) }

// writePrivate is writeFile of a file that only its owner may read.
func writePrivate(path string, data []byte) error { return writeMode(path, data, 0o600) }

func writeMode(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".lowrank-*")
	if err != nil {
		return fmt.Errorf("%s: %w", path, reason(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", path, reason(err)), ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), mode)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
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
		return fmt.Errorf("%s %s: nothing can be written to the folder %s (%w); name a file elsewhere", name, path, dir, reason(err))
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

// reason leaves the name out of an error about a file: that of a temporary one
// means nothing to anybody.
func reason(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
