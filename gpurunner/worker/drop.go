package worker

import (
	"context"
	"errors"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/retry"
)

// drop removes what a job that has ended does not need: its checkpoints, and
// unless it succeeded what it has put. job is the job as last seen; of one that
// was deleted meanwhile, that is all there is to know.
func (l *Loop) drop(ctx context.Context, store *predictions.Store, job events.Job) {
	now, err := store.Load(ctx, job.ID)
	switch {
	case err == nil:
		job = now
	case !errors.Is(err, infra.ErrNotFound):
		l.Log.Warn("what a job has left is not removed", "job", job.ID, "err", err)
		return
	}
	if err == nil && !job.Status.Terminal() {
		return // another runner is at it
	}
	if job.OutputSecret != "" && (err != nil || job.Status != events.Succeeded) {
		if err := l.removeAll(ctx, job.OutputKeyPrefix()); err != nil {
			l.Log.Warn("drop outputs", "job", job.ID, "err", err)
		}
	}
	if job.Checkpoint == "" && !job.Program.Trains() {
		return
	}
	if err := l.removeAll(ctx, job.CheckpointKeyPrefix()); err != nil {
		l.Log.Warn("drop checkpoints", "job", job.ID, "err", err)
	}
}

func (l *Loop) removeAll(ctx context.Context, prefix string) error {
	// A job has few outputs and checkpoints: they fit into one page.
	page, err := retry.Value(ctx, l.Ports.Clock, func() (infra.Page[infra.BlobInfo], error) {
		return l.Ports.Blobs.List(ctx, prefix, "", 0)
	})
	for _, b := range page.Items {
		err = errors.Join(err, l.remove(ctx, b.Key))
	}
	return err
}

func (l *Loop) remove(ctx context.Context, key string) error {
	return retry.Do(ctx, l.Ports.Clock, func() error { return l.Ports.Blobs.Delete(ctx, key) })
}
