package predictions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// How long things may take before the sweep looks.
const (
	UploadDeadline = time.Hour        // for the PUT that a training waits for
	UnsentAfter    = 30 * time.Second // a job without a message gets one
	resendAfter    = 2 * time.Minute  // a job whose runner died and whose message did not come back gets one
	leaseGrace     = 2 * time.Second  // after a lease's end, for clocks that differ
)

// Kinds of records.
const (
	kindPrediction = "prediction"
	kindTraining   = "training"
)

// Store keeps jobs over the ports.
type Store struct {
	// Runner, which may be empty, names the process that Start gives jobs to, so that whoever sees it die can say so
	// to Forsake. No two processes ever have the same.
	Runner string

	jobs   infra.Jobs
	index  infra.JobIndex
	logs   infra.Logs
	queues infra.Queues
	blobs  infra.Blobs
	docs   infra.Documents
	clock  infra.Clock
}

// New makes a Store over an adapter's ports.
func New(p infra.Ports) *Store {
	return &Store{jobs: p.Jobs, index: p.Index, logs: p.Logs, queues: p.Queues, blobs: p.Blobs, docs: p.Documents, clock: p.Clock}
}

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.clock.Now() }

// record writes j as a record that follows old (zero when new).
func (s *Store) record(j *events.Job, version int64) (infra.Record, error) {
	payload, err := events.Marshal(j)
	if err != nil {
		return infra.Record{}, fmt.Errorf("job %s: %w", j.ID, err)
	}
	kind := kindPrediction
	if j.Training {
		kind = kindTraining
	}
	return infra.Record{
		ID: string(j.ID), Version: version, Owner: string(j.Owner), Kind: kind, CreatedAt: j.CreatedAt.Time,
		Status: string(j.Status), Open: !j.Status.Terminal(), UploadKey: j.WaitsFor, DueAt: s.due(j), Payload: payload,
	}, nil
}

// due is when the sweep must look at the job: the soonest of what may be missed.
func (s *Store) due(j *events.Job) time.Time {
	if j.Deleted {
		return s.clock.Now().Add(UnsentAfter)
	}
	if j.Status.Terminal() {
		return time.Time{}
	}
	var t time.Time
	soonest := func(u time.Time) {
		if t.IsZero() || u.Before(t) {
			t = u
		}
	}
	switch {
	case j.WaitsFor != "":
		soonest(j.CreatedAt.Add(UploadDeadline))
	case j.Lease != nil:
		soonest(j.Lease.Until.Add(leaseGrace))
	case j.QueuedAt.IsZero():
		soonest(s.clock.Now().Add(UnsentAfter))
	case j.Crashes > 0:
		soonest(s.clock.Now().Add(resendAfter))
	}
	if !j.CancelAfter.IsZero() {
		soonest(j.CancelAfter.Time)
	}
	return t
}

// Decode reads a record's job.
func Decode(r infra.Record) (events.Job, error) {
	var j events.Job
	if err := json.Unmarshal(r.Payload, &j); err != nil {
		return j, fmt.Errorf("job %s: its record cannot be read: %w", r.ID, err)
	}
	return j, nil
}

// Create stores a new job. Doing so twice is no error.
func (s *Store) Create(ctx context.Context, j *events.Job) error {
	r, err := s.record(j, 0)
	if err != nil {
		return err
	}
	err = retry.Do(ctx, s.clock, func() error {
		_, err := s.jobs.Create(ctx, r)
		return err
	})
	if errors.Is(err, infra.ErrExists) {
		return nil // ids are drawn from 128 random bits: it is ours
	}
	return err
}

// Load reads a job. A deleted one is infra.ErrNotFound.
func (s *Store) Load(ctx context.Context, id events.JobID) (events.Job, error) {
	j, _, err := s.get(ctx, id)
	if err == nil && j.Deleted {
		err = &infra.Error{Op: "predictions.Load", Kind: infra.ErrNotFound, Key: string(id)}
	}
	return j, err
}

func (s *Store) get(ctx context.Context, id events.JobID) (events.Job, infra.Record, error) {
	if !events.ValidID(string(id)) {
		return events.Job{}, infra.Record{}, &infra.Error{Op: "predictions.Load", Kind: infra.ErrNotFound}
	}
	var r infra.Record
	err := retry.Do(ctx, s.clock, func() (err error) {
		r, err = s.jobs.Get(ctx, string(id))
		return err
	})
	if err != nil {
		return events.Job{}, r, err
	}
	j, err := Decode(r)
	return j, r, err
}

// errNoChange lets a change end without a write.
var errNoChange = errors.New("nothing to change")

// Change applies fn to the job and writes it, again and again until no one else wrote meanwhile. fn
// may run several times and must be pure; its error ends the loop and is returned with the job as
// fn saw it. A deleted job is infra.ErrNotFound. When two writers want the very same job, one write is
// enough for both: that is how a write whose answer was lost is known again.
func (s *Store) Change(ctx context.Context, id events.JobID, fn func(*events.Job) error) (events.Job, error) {
	j, _, err := s.change(ctx, id, infra.Record{}, fn)
	return j, err
}

// change is Change that may begin with a record it was given, sparing the read.
func (s *Store) change(ctx context.Context, id events.JobID, r infra.Record, fn func(*events.Job) error) (events.Job, infra.Record, error) {
	var tried []byte
	for {
		var j events.Job
		var err error
		if r.ID == "" {
			j, r, err = s.get(ctx, id)
		} else {
			j, err = Decode(r)
		}
		if err != nil {
			return j, r, err
		}
		if tried != nil && bytes.Equal(tried, r.Payload) {
			return j, r, nil // an earlier try took effect, its answer was lost
		}
		if j.Deleted {
			return j, r, &infra.Error{Op: "predictions.Change", Kind: infra.ErrNotFound, Key: string(id)}
		}
		if err := fn(&j); err != nil {
			if errors.Is(err, errNoChange) {
				err = nil
			}
			return j, r, err
		}
		next, err := s.record(&j, r.Version)
		if err != nil {
			return j, r, err
		}
		tried = next.Payload
		var stored infra.Record
		err = retry.Do(ctx, s.clock, func() (err error) {
			stored, err = s.jobs.Update(ctx, next)
			return err
		})
		switch {
		case err == nil:
			return j, stored, nil
		case errors.Is(err, infra.ErrConflict):
			r = infra.Record{}
		default:
			return j, r, err
		}
	}
}

// Log reads the log that belongs to the job as it is: its first LogSize bytes.
func (s *Store) Log(ctx context.Context, j *events.Job) (string, error) {
	if j.LogSize == 0 {
		return "", nil
	}
	var b []byte
	err := retry.Do(ctx, s.clock, func() (err error) {
		b, err = s.logs.Read(ctx, string(j.ID), 0, int(j.LogSize))
		return err
	})
	return string(b), err
}

// View reads what a client sees of the job.
func (s *Store) View(ctx context.Context, j *events.Job) (events.Prediction, error) {
	log, err := s.Log(ctx, j)
	return j.View(log), err
}

// List returns at most limit (1 to 100) of the owner's jobs, newest first, without those deleted.
func (s *Store) List(ctx context.Context, owner events.Owner, trainings bool, cursor string, limit int) ([]events.Job, string, error) {
	kind := kindPrediction
	if trainings {
		kind = kindTraining
	}
	var page infra.Page[infra.Record]
	err := retry.Do(ctx, s.clock, func() (err error) {
		page, err = s.index.List(ctx, string(owner), kind, cursor, limit)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	jobs := make([]events.Job, 0, len(page.Items))
	for _, r := range page.Items {
		j, err := Decode(r)
		if err != nil {
			return nil, "", err
		}
		if !j.Deleted {
			jobs = append(jobs, j)
		}
	}
	return jobs, page.Next, nil
}

// Open counts the owner's jobs that have not ended.
func (s *Store) Open(ctx context.Context, owner events.Owner) (n int, err error) {
	err = retry.Do(ctx, s.clock, func() (err error) {
		n, err = s.index.CountOpen(ctx, string(owner))
		return err
	})
	return n, err
}
