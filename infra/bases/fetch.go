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
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/lowrank/lowrank/infra"
)

const (
	// rangeSize is how many bytes are asked for at once. One connection to S3 gives
	// some 90 MB a second; several saturate a machine's link.
	rangeSize = 32 << 20
	ranges    = 8 // on their way together
)

// Fetch makes the base's files lie under dir, which may be shared by several
// runners, and returns the path of its folder or single file. What is there is not
// fetched again. A file whose hash is not the one that was added is an error and
// does not stay. "" is a base that has no files: it is inside the runner.
func (s Store) Fetch(ctx context.Context, name, dir string) (string, error) {
	b, err := s.Get(ctx, name)
	if err != nil || len(b.Files) == 0 {
		return "", err
	}
	// A name may be given to other files later; the folder's name follows them.
	id := sha256.New()
	for _, f := range b.Files {
		if !fs.ValidPath(f.Path) {
			return "", fmt.Errorf("base %s: the path %q leads out of its folder", name, f.Path)
		}
		fmt.Fprintf(id, "%s %s\n", f.SHA256, f.Path)
	}
	folder := filepath.Join(dir, name+"-"+hex.EncodeToString(id.Sum(nil))[:16])
	for _, f := range b.Files {
		if err := s.fetch(ctx, f, filepath.Join(dir, "files"), filepath.Join(folder, filepath.FromSlash(f.Path))); err != nil {
			return "", fmt.Errorf("base %s: %s: %w", name, f.Path, err)
		}
	}
	if b.Single {
		return filepath.Join(folder, path.Base(b.Files[0].Path)), nil
	}
	return folder, nil
}

// fetch brings one file into the cache by its hash and links it where it belongs.
func (s Store) fetch(ctx context.Context, f File, cache, place string) error {
	if info, err := os.Stat(place); err == nil && info.Size() == f.Size {
		return nil
	}
	kept := filepath.Join(cache, f.SHA256)
	if info, err := os.Stat(kept); err != nil || info.Size() != f.Size {
		if err := os.MkdirAll(cache, 0o700); err != nil {
			return err
		}
		if err := s.download(ctx, f, kept); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
		return err
	}
	err := os.Link(kept, place)
	if errors.Is(err, fs.ErrExist) {
		return nil // another runner was as quick
	}
	return err
}

// download writes the file beside its place, in parallel ranges, checks it and
// moves it there.
func (s Store) download(ctx context.Context, f File, place string) (err error) {
	part, err := os.CreateTemp(filepath.Dir(place), "part-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(part.Name())
		}
	}()
	defer part.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(ranges)
	for at := int64(0); at < f.Size; at += rangeSize {
		group.Go(func() error { return s.copyRange(ctx, f, part, at, min(rangeSize, f.Size-at)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(h, part); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.SHA256 {
		return fmt.Errorf("what was fetched has the SHA-256 %s, not %s", sum, f.SHA256)
	}
	if err := part.Sync(); err != nil {
		return err
	}
	return os.Rename(part.Name(), place)
}

// copyRange fetches n bytes from at. A connection that breaks is tried again from
// where it broke.
func (s Store) copyRange(ctx context.Context, f File, part *os.File, at, n int64) error {
	var err error
	for tries := 0; tries < 5 && n > 0; tries++ {
		var blob *infra.Blob
		if blob, err = s.Blobs.Get(ctx, blobKey(f), infra.GetOptions{Offset: at, Length: n}); err != nil {
			if infra.Retryable(err) {
				continue
			}
			return err
		}
		var got int64
		got, err = io.Copy(io.NewOffsetWriter(part, at), io.LimitReader(blob.Body, n))
		blob.Body.Close()
		at, n = at+got, n-got
		if err == nil && got == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	if n > 0 {
		return err
	}
	return nil
}
