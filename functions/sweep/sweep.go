// Package sweep is what the clock calls: it finds what events alone would miss. Leases that ran out,
// messages that were never sent, uploads that never came, cancellations whose time has come,
// removals that stopped in the middle, dead letters, and uploads that no one uses any more.
package sweep

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

// UploadTTL is how long an upload is kept after it was last named by a job, or was made.
const UploadTTL = 7 * 24 * time.Hour

// rareEvery is how often the parts of the sweep run that nothing waits for.
const rareEvery = time.Minute

// Sweeper sweeps. Two at once do no harm.
type Sweeper struct {
	ports infra.Ports
	jobs  *predictions.Store
	reg   *registry.Registry
	ttl   time.Duration
	log   *slog.Logger
}

// New makes a Sweeper; uploadTTL 0 is UploadTTL.
func New(p infra.Ports, uploadTTL time.Duration, log *slog.Logger) *Sweeper {
	if uploadTTL == 0 {
		uploadTTL = UploadTTL
	}
	return &Sweeper{ports: p, jobs: predictions.New(p), reg: registry.Open(p.Documents), ttl: uploadTTL, log: infra.CutKeys(log)}
}

// Sweep does all once: what a Lambda does every minute.
func (s *Sweeper) Sweep(ctx context.Context) error {
	return errors.Join(s.Due(ctx), s.Rest(ctx))
}

// Due does what has a time of its own. It costs one look into an index when nothing is due.
func (s *Sweeper) Due(ctx context.Context) error {
	_, err := s.jobs.Overdue(ctx)
	return err
}

// Rest looks at dead letters and old uploads.
func (s *Sweeper) Rest(ctx context.Context) error {
	var errs []error
	for _, q := range []string{infra.PredictionQueue, infra.TrainingQueue} {
		errs = append(errs, s.queue(ctx, q))
	}
	_, err := s.reg.ExpireUploads(ctx, s.ports.Blobs, s.ports.Clock.Now(), s.ttl, s.ended)
	return errors.Join(append(errs, err)...)
}

// queue looks at a queue's dead letters, if it has any. That it asks for the depth each time has a use of
// its own: alarms start runners by what SQS tells of depths, and SQS tells nothing of a queue that no one
// has used for six hours, nor for a quarter of an hour after that.
func (s *Sweeper) queue(ctx context.Context, name string) error {
	d, err := s.ports.Queues.Queue(name).Depth(ctx)
	if err != nil || d.Dead == 0 {
		return err
	}
	return s.jobs.DeadLetters(ctx, name)
}

// ended reports whether a job has ended or is gone.
func (s *Sweeper) ended(ctx context.Context, id events.JobID) (bool, error) {
	j, err := s.jobs.Load(ctx, id)
	if errors.Is(err, infra.ErrNotFound) {
		return true, nil
	}
	return j.Status.Terminal(), err
}

// Run sweeps until ctx ends: what is due every second, the rest every minute.
func (s *Sweeper) Run(ctx context.Context) {
	var rare time.Time
	for {
		err := s.Due(ctx)
		if now := s.ports.Clock.Now(); now.Sub(rare) >= rareEvery {
			rare = now
			err = errors.Join(err, s.Rest(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the sweep left something undone; it comes again", "error", err)
		}
		if infra.Sleep(ctx, s.ports.Clock, time.Second) != nil {
			return
		}
	}
}
