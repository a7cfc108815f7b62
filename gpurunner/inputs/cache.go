package inputs

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lowrank/lowrank/gpurunner/worker"
)

// hold links a cached file for its user, so that it may leave the cache
// meanwhile, and notes the use.
func (f *Fetcher) hold(path, name string, size int64) worker.File {
	now := time.Now()
	_ = os.Chtimes(path, now, now) // only the order of leaving depends on it
	held, err := os.CreateTemp(f.Dir, "held-*")
	if err == nil {
		held.Close()
		os.Remove(held.Name())
		err = os.Link(path, held.Name())
	}
	if err != nil {
		// A file system without links: the file is used where it lies.
		return worker.File{Path: path, Name: name, Size: size}
	}
	return worker.File{Path: held.Name(), Name: name, Size: size, Done: func() { os.Remove(held.Name()) }}
}

// makeRoom removes the files that were used least recently until size more
// bytes fit. What crashed runners left held or half written goes with them.
func (f *Fetcher) makeRoom(size int64) error {
	entries, err := os.ReadDir(f.Dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	total := size
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for _, info := range files {
		if total <= f.Max {
			break
		}
		if time.Since(info.ModTime()) < time.Minute {
			break // someone is at it
		}
		if os.Remove(filepath.Join(f.Dir, info.Name())) == nil {
			total -= info.Size()
		}
	}
	return nil
}
