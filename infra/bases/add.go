package bases

import (
	"bytes"
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
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// sends is how many pieces are on their way to the store together.
const sends = 3

// wanted are the endings of the files that a base is made of. Folders of public
// models hold the same weights in other forms too.
var wanted = []string{".safetensors", ".json", ".txt", ".model"}

// Add stores the base at path, a folder or a single file, under limits.Name. Pieces
// that are there already are not sent again, so an Add that was cut off goes on
// where it was; the base is seen once all of it is there. progress, which may be
// nil, is told how many bytes of how many are there.
func (s Store) Add(ctx context.Context, limits events.BaseLimits, path string, isDefault bool, progress func(done, total int64)) error {
	b, err := read(limits, path)
	if err != nil {
		return err
	}
	b.Default = isDefault
	t := &tally{tell: progress}
	for _, f := range b.Files {
		t.total += f.Size
	}
	for i, f := range b.Files {
		if b.Files[i], err = s.send(ctx, f, onDisk(b, path, f), t); err != nil {
			return fmt.Errorf("base %s: %s: %w", limits.Name, f.Path, err)
		}
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

// read lists a base's files with their sizes.
func read(limits events.BaseLimits, path string) (Base, error) {
	b := Base{Limits: limits}
	info, err := os.Stat(path)
	if err != nil {
		return b, err
	}
	if b.Single = !info.IsDir(); b.Single {
		b.Files = []File{{Path: filepath.Base(path), Size: info.Size()}}
		return b, nil
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
		info, err := os.Stat(p) // caches of downloads hold links
		if err != nil {
			return err
		}
		b.Files = append(b.Files, File{Path: filepath.ToSlash(rel), Size: info.Size()})
		return nil
	})
	if err == nil && len(b.Files) == 0 {
		err = fmt.Errorf("%s holds no files of a base model (%s)", path, strings.Join(wanted, ", "))
	}
	return b, err
}

// send stores a file's pieces, several at a time, and returns the file with its
// hash and theirs. It is read once: a piece is what was read, under the hash of
// what was read.
func (s Store) send(ctx context.Context, f File, path string, t *tally) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer file.Close()
	whole := sha256.New()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sends)
	for left := f.Size; left > 0 && ctx.Err() == nil; {
		piece := make([]byte, min(left, pieceSize))
		if _, err := io.ReadFull(file, piece); err != nil {
			return f, errors.Join(fmt.Errorf("read: %w", err), group.Wait())
		}
		left -= int64(len(piece))
		whole.Write(piece)
		sum := sha256.Sum256(piece)
		f.Pieces = append(f.Pieces, hex.EncodeToString(sum[:]))
		key := blobKey(f.Pieces[len(f.Pieces)-1])
		group.Go(func() error {
			if err := s.sendPiece(ctx, key, piece); err != nil {
				return err
			}
			t.add(len(piece))
			return nil
		})
	}
	f.SHA256 = hex.EncodeToString(whole.Sum(nil))
	return f, group.Wait()
}

// sendPiece stores a piece unless it is there.
func (s Store) sendPiece(ctx context.Context, key string, piece []byte) error {
	info, err := s.Blobs.Stat(ctx, key, "")
	if err == nil && info.Size == int64(len(piece)) {
		return nil
	}
	if err != nil && !errors.Is(err, infra.ErrNotFound) {
		return err
	}
	_, err = s.Blobs.Put(ctx, key, bytes.NewReader(piece), infra.PutOptions{})
	return err
}

// tally tells how much is there.
type tally struct {
	tell        func(done, total int64)
	mu          sync.Mutex
	done, total int64
}

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done += int64(n); t.tell != nil {
		t.tell(t.done, t.total)
	}
}
