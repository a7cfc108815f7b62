// Package inputs brings what a job's input names onto the runner's disk: files of
// our own store without the network, at the generation that the job is pinned
// to; anything else through a guarded downloader. Files are kept in a folder
// under a size limit, so that a concept that is drawn with again is not fetched
// again.
package inputs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
)

// Remote fetches URLs that are not ours. Its errors are for the job's owner.
type Remote interface {
	Fetch(ctx context.Context, url string) (worker.File, error)
}

// Fetcher implements worker.Fetcher.
type Fetcher struct {
	Blobs  infra.Blobs
	Remote Remote
	Dir    string // of the cache
	Max    int64  // bytes that the cache may hold
}

var _ worker.Fetcher = (*Fetcher)(nil)

// Fetch implements worker.Fetcher.
func (f *Fetcher) Fetch(ctx context.Context, job *events.Job, url string) (worker.File, error) {
	for _, s := range job.Sources {
		if s.URL == url {
			return f.own(ctx, s)
		}
	}
	return f.Remote.Fetch(ctx, url)
}

// own copies a blob of the store into the cache.
func (f *Fetcher) own(ctx context.Context, s events.Source) (worker.File, error) {
	blob, err := f.Blobs.Get(ctx, s.Key, infra.GetOptions{Generation: s.Generation})
	if err != nil {
		return worker.File{}, err
	}
	defer blob.Body.Close()
	sum := sha256.Sum256([]byte(s.Key + "\x00" + blob.Generation))
	path := filepath.Join(f.Dir, hex.EncodeToString(sum[:]))
	if info, err := os.Stat(path); err == nil && info.Size() == blob.Size {
		return f.hold(path, s.Name, info.Size()), nil
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return worker.File{}, err
	}
	if err := f.makeRoom(blob.Size); err != nil {
		return worker.File{}, err
	}
	part, err := os.CreateTemp(f.Dir, "part-*")
	if err != nil {
		return worker.File{}, err
	}
	_, err = io.Copy(part, blob.Body)
	if closeErr := part.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		os.Remove(part.Name())
		return worker.File{}, err
	}
	return f.hold(path, s.Name, blob.Size), nil
}
