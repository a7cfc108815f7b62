package paritytest

import (
	"compress/gzip"
	"embed"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

//go:embed testdata
var embedded embed.FS

// smallDir is where the embedded set was unpacked; Main removes it.
var smallDir string

// smallSet unpacks the embedded set to a temporary folder, once a process. Files that end in .gz come out
// decompressed and without that ending, so the folder looks like any other root.
var smallSet = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lowrank-parity-")
	if err != nil {
		return "", err
	}
	smallDir = dir
	return dir, fs.WalkDir(embedded, "testdata", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "testdata" {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "testdata/")))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		return unpack(name, target)
	})
})

func unpack(name, target string) error {
	in, err := embedded.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	var from io.Reader = in
	if strings.HasSuffix(name, ".gz") {
		if from, err = gzip.NewReader(in); err != nil {
			return err
		}
		target = strings.TrimSuffix(target, ".gz")
	}
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, from); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
