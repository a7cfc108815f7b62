// Package inputs brings what a job's input names onto the runner's disk: files of
// our own store without the network, at the generation that the job is pinned
// to; anything else through infra/fetch. Both go through one cache by content, so
// that a concept that is drawn with again is not fetched again.
package inputs

import (
	"context"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/fetch"
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

// own opens a blob of the store.
func (f *Fetcher) own(ctx context.Context, s events.Source) (worker.File, error) {
	info, err := f.Blobs.Stat(ctx, s.Key, s.Generation)
	if err != nil {
		return worker.File{}, err
	}
	if info.SHA256 != "" {
		if file, ok := f.Cache.Open(info.SHA256, s.Name); ok {
			return workerFile(file, s.Name), nil
		}
	}
	blob, err := f.Blobs.Get(ctx, s.Key, infra.GetOptions{Generation: info.Generation})
	if err != nil {
		return worker.File{}, err
	}
	defer blob.Body.Close()
	file, err := f.Cache.Add(blob.Body, s.Name)
	return workerFile(file, s.Name), err
}

func workerFile(f fetch.File, name string) worker.File {
	return worker.File{Path: f.Path, Name: name, Size: f.Size, Done: f.Done}
}
