// Package atomicfile writes files that appear whole or not at all.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes a file at path: beside it first, as .NAME.*.partial, flushed to the disk and renamed, replacing what was
// there. Its errors name path and no word of the temporary file; one of the file system is an *fs.PathError.
func Write(path string, mode fs.FileMode, write func(w io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return about(path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // already closed, or of no use
			err = errors.Join(about(path, err), os.Remove(f.Name()))
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// about is err, of writing path.
func about(path string, err error) error {
	if why, ok := cause(err); ok {
		return &fs.PathError{Op: "write", Path: path, Err: why}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Reason leaves the name out of an error about a file, for who names the file in other words; other errors stay as they
// are.
func Reason(err error) error {
	if why, ok := cause(err); ok {
		return why
	}
	return err
}

// cause is what the file system said of a file; not ok where err is no such error.
func cause(err error) (why error, ok bool) {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err, true
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err, true
	}
	return nil, false
}

// syncDir makes the renaming last through a power cut where directories can be flushed.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
