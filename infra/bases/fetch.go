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
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lowrank/lowrank/infra"
)

const (
	// fetches is how many pieces are on their way together. One connection to S3
	// gives some 90 MB a second; several saturate a machine's link.
	fetches = 8
	// stale is the age from which an unfinished download is what a runner left that
	// was killed.
	stale = time.Hour
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

// download writes the file beside its place, several pieces at a time, checks it
// and moves it there.
func (s Store) download(ctx context.Context, f File, place string) (err error) {
	if int64(len(f.Pieces)) != (f.Size+pieceSize-1)/pieceSize {
		return fmt.Errorf("%d pieces cannot be %d bytes; add the base again", len(f.Pieces), f.Size)
	}
	clean(filepath.Dir(place))
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
	group.SetLimit(fetches)
	for i, piece := range f.Pieces {
		at := int64(i) * pieceSize
		group.Go(func() error { return s.copyPiece(ctx, blobKey(piece), part, at, min(pieceSize, f.Size-at)) })
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

// copyPiece fetches a piece of n bytes to part, from at. A connection that breaks
// is tried again from where it broke, until several in a row bring nothing.
func (s Store) copyPiece(ctx context.Context, key string, part *os.File, at, n int64) error {
	for got, failures := int64(0), 0; got < n; {
		more, err := s.copySome(ctx, key, io.NewOffsetWriter(part, at+got), got, n-got)
		switch got += more; {
		case got == n:
			return nil
		case more > 0:
			failures = 0
			continue
		case err == nil:
			return io.ErrUnexpectedEOF
		case !infra.Retryable(err) || failures == 5:
			return err
		}
		failures++
		if err := infra.Sleep(ctx, infra.SystemClock{}, time.Duration(failures)*100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// copySome copies up to n bytes of a blob to w, from offset.
func (s Store) copySome(ctx context.Context, key string, w io.Writer, offset, n int64) (int64, error) {
	blob, err := s.Blobs.Get(ctx, key, infra.GetOptions{Offset: offset, Length: n})
	if err != nil {
		return 0, err
	}
	defer blob.Body.Close()
	return io.Copy(w, io.LimitReader(blob.Body, n))
}

// clean removes what runners left in the cache that were killed.
func clean(cache string) {
	left, _ := filepath.Glob(filepath.Join(cache, "part-*")) // the pattern is right
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > stale {
			_ = os.Remove(path) // another runner may have been quicker
		}
	}
}
