// Package inputs brings what a job's input names onto the runner's disk: files of
// our own store without the network, at the generation that the job is pinned
// to; anything else through infra/fetch. Both go through one cache by content, so
// that a concept that is drawn with again is not fetched again.
package inputs

import (
	"context"
	"errors"
	"fmt"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/fetch"
	"github.com/lowrank/lowrank/infra/retry"
)

// Fetcher implements worker.Fetcher.
type Fetcher struct {
	Blobs  infra.Blobs
	Remote *fetch.Fetcher
	Cache  *fetch.Cache
}

var _ worker.Fetcher = (*Fetcher)(nil)

// Fetch implements worker.Fetcher.
func (f *Fetcher) Fetch(ctx context.Context, job *events.Job, url string) (worker.File, error) {
	for _, s := range job.Sources {
		if s.URL == url {
			return f.own(ctx, s)
		}
	}
	file, err := f.Remote.Fetch(ctx, url)
	return workerFile(file, file.Name), err
}

// own opens a blob of the store, again if that fails in a way that may pass.
func (f *Fetcher) own(ctx context.Context, s events.Source) (worker.File, error) {
	file, err := retry.Value(ctx, infra.SystemClock{}, func() (fetch.File, error) { return f.open(ctx, s) })
	if errors.Is(err, infra.ErrNotFound) {
		return worker.File{}, fmt.Errorf("%s is not there any more; upload it again", s.Name)
	}
	return workerFile(file, s.Name), err
}

// open is one try.
func (f *Fetcher) open(ctx context.Context, s events.Source) (fetch.File, error) {
	info, err := f.Blobs.Stat(ctx, s.Key, s.Generation)
	if err != nil {
		return fetch.File{}, err
	}
	if info.SHA256 != "" {
		if file, ok := f.Cache.Open(info.SHA256, s.Name); ok {
			return file, nil
		}
	}
	blob, err := f.Blobs.Get(ctx, s.Key, infra.GetOptions{Generation: info.Generation})
	if err != nil {
		return fetch.File{}, err
	}
	defer blob.Body.Close()
	return f.Cache.Add(blob.Body, s.Name)
}

func workerFile(f fetch.File, name string) worker.File {
	return worker.File{Path: f.Path, Name: name, Size: f.Size, Done: f.Done}
}
