package bases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// wanted are the endings of the files that a base is made of. Folders of public
// models hold the same weights in other forms too.
var wanted = []string{".safetensors", ".json", ".txt", ".model"}

// Add stores the base at path, a folder or a single file, under limits.Name. Files
// that are there already are not sent again. progress, which may be nil, is told
// how many bytes of how many are there.
func (s Store) Add(ctx context.Context, limits events.BaseLimits, path string, isDefault bool, progress func(done, total int64)) error {
	b, err := read(limits, path)
	if err != nil {
		return err
	}
	b.Default = isDefault
	var done, total int64
	for _, f := range b.Files {
		total += f.Size
	}
	for _, f := range b.Files {
		tell := func(n int64) {
			if progress != nil {
				progress(done+n, total)
			}
		}
		if err := s.send(ctx, f, onDisk(b, path, f), tell); err != nil {
			return fmt.Errorf("base %s: %s: %w", limits.Name, f.Path, err)
		}
		done += f.Size
		tell(0)
	}
	if isDefault {
		if err := s.dethrone(ctx, limits.Name); err != nil {
			return err
		}
	}
	return s.put(ctx, b, infra.AnyVersion)
}

func onDisk(b Base, path string, f File) string {
	if b.Single {
		return path
	}
	return filepath.Join(path, filepath.FromSlash(f.Path))
}

// dethrone takes the mark of the default from every other base.
func (s Store) dethrone(ctx context.Context, name string) error {
	all, err := s.List(ctx)
	for _, b := range all {
		if err == nil && b.Default && b.Limits.Name != name {
			b.Default = false
			err = s.put(ctx, b, infra.AnyVersion)
		}
	}
	return err
}

// read lists and hashes a base's files.
func read(limits events.BaseLimits, path string) (Base, error) {
	b := Base{Limits: limits}
	info, err := os.Stat(path)
	if err != nil {
		return b, err
	}
	if b.Single = !info.IsDir(); b.Single {
		f, err := hashed(path, filepath.Base(path))
		b.Files = []File{f}
		return b, err
	}
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(d.Name(), ".") && p != path:
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir() || !slices.Contains(wanted, filepath.Ext(p)):
			return nil
		}
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		f, err := hashed(p, filepath.ToSlash(rel))
		b.Files = append(b.Files, f)
		return err
	})
	if err == nil && len(b.Files) == 0 {
		err = fmt.Errorf("%s holds no files of a base model (%s)", path, strings.Join(wanted, ", "))
	}
	return b, err
}

func hashed(path, name string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Path: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// send stores a file unless it is there.
func (s Store) send(ctx context.Context, f File, path string, tell func(int64)) error {
	info, err := s.Blobs.Stat(ctx, blobKey(f), "")
	if err == nil && info.Size == f.Size {
		return nil
	}
	if err != nil && !errors.Is(err, infra.ErrNotFound) {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	put, err := s.Blobs.Put(ctx, blobKey(f), &counted{r: file, tell: tell}, infra.PutOptions{})
	if err != nil {
		return err
	}
	if put.SHA256 != f.SHA256 {
		return errors.Join(errors.New("the file changed while it was sent; add the base again"), s.Blobs.Delete(ctx, blobKey(f)))
	}
	return nil
}

// counted tells how much was read.
type counted struct {
	r    io.Reader
	n    int64
	tell func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n)
	return n, err
}
