package predictions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// MaxLog is how much log one job may write; beyond it only the fact is noted.
const MaxLog = 4 << 20

// Run is a runner's hold on one job. Its methods may be used from several goroutines.
//
// When a method returns events.ErrTerminal (the job was canceled), events.ErrLeaseLost or
// infra.ErrNotFound (it was deleted), the runner stops and writes nothing more. Any other error may pass.
type Run struct {
	store  *Store
	holder string
	lease  time.Duration

	write    sync.Mutex // held during a write; orders them
	mu       sync.Mutex // guards what follows
	job      events.Job
	record   infra.Record
	pending  strings.Builder
	progress *events.Progress
	logged   int64 // bytes in the log and in pending
}

// ErrGivenUp is Start's answer for a job that took down too many runners. Its message must be left: it
// becomes a dead letter, which stays to be looked at.
var ErrGivenUp = errors.New("the job was given up after it stopped its runners")

// Start gives the job to this runner for lease, to be renewed by Beat. See events.Job.Start for what it
// refuses with, and doc.go for what to do with the message then. When it refuses with events.ErrLeased it
// has sent a message for the time when that lease is over: the holder may be dead.
func (s *Store) Start(ctx context.Context, id events.JobID, lease time.Duration) (*Run, error) {
	holder := events.NewID()
	if s.Runner != "" {
		holder = s.Runner + "." + holder
	}
	j, r, err := s.change(ctx, id, infra.Record{}, func(j *events.Job) error {
		ended := j.Status.Terminal()
		err := j.Start(holder, s.clock.Now(), lease)
		if errors.Is(err, events.ErrTerminal) && !ended {
			return nil // given up just now: that must be written
		}
		return err
	})
	switch {
	case err == nil && !j.Status.Terminal():
	case j.Status == events.Failed && j.Crashes >= events.MaxCrashes:
		return nil, ErrGivenUp
	case errors.Is(err, events.ErrLeased):
		if serr := s.send(ctx, id, j.Program, j.Lease.Until.Sub(s.clock.Now())+time.Second); serr != nil {
			return nil, serr
		}
		return nil, err
	case err == nil:
		return nil, events.ErrTerminal
	default:
		return nil, err
	}
	run := &Run{store: s, holder: holder, lease: lease, job: j, record: r, logged: j.LogSize}
	// A runner that died may have appended more log than it noted: that is kept.
	rest, err := retry.Value(ctx, s.clock, func() ([]byte, error) { return s.logs.Read(ctx, string(id), j.LogSize, 0) })
	if err == nil && len(rest) > 0 {
		j, r, err = s.change(ctx, id, r, func(j *events.Job) error {
			if err := j.Held(holder); err != nil {
				return err
			}
			j.LogSize = run.logged + int64(len(rest))
			return nil
		})
		run.job, run.record, run.logged = j, r, j.LogSize
	}
	if err != nil {
		return nil, err
	}
	return run, nil
}

// Job is the job as this run last wrote or read it.
func (r *Run) Job() events.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job
}

// Logf adds a line to the log. It is written by the next Beat. Text that a user named (prompts, file
// names) must not go to the process's own log; here it may, only the owner reads it.
func (r *Run) Logf(format string, args ...any) {
	r.Log(strings.TrimRight(fmt.Sprintf(format, args...), "\n") + "\n")
}

// Log adds text as it is; it should end in a line break.
func (r *Run) Log(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logged > MaxLog {
		return
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	r.logged += int64(len(text))
	if r.logged > MaxLog {
		text = "The log is full; the job goes on without one.\n"
	}
	r.pending.WriteString(text)
}

// Progress notes how far the job is. It is written by the next Beat.
func (r *Run) Progress(p events.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = &p
}

// Beat writes the log and progress that have gathered, renews the lease when a third of it is gone, and
// finds out whether the job was canceled. Call it about once a second while the job runs.
func (r *Run) Beat(ctx context.Context) error {
	r.write.Lock()
	defer r.write.Unlock()
	now := r.store.clock.Now()
	r.mu.Lock()
	idle := r.pending.Len() == 0 && r.progress == nil && r.job.Lease != nil && r.job.Lease.Until.Sub(now) > r.lease*2/3 &&
		(r.job.CancelAfter.IsZero() || now.Before(r.job.CancelAfter.Time))
	r.mu.Unlock()
	if !idle {
		return r.flush(ctx, func(j *events.Job) error { return nil })
	}
	j, rec, err := r.store.get(ctx, r.job.ID)
	if err != nil {
		return err
	}
	if j.Deleted {
		return &infra.Error{Op: "predictions.Beat", Kind: infra.ErrNotFound, Key: string(j.ID)}
	}
	if err := j.Held(r.holder); err != nil {
		return err
	}
	r.mu.Lock()
	r.job, r.record = j, rec
	r.mu.Unlock()
	return nil
}

// flush appends the pending log and then writes the job with what fn changes, all under the lease.
func (r *Run) flush(ctx context.Context, fn func(*events.Job) error) error {
	r.mu.Lock()
	chunk, progress := r.pending.String(), r.progress
	record, offset, id := r.record, r.job.LogSize, r.job.ID
	r.pending.Reset()
	r.progress = nil
	r.mu.Unlock()
	err := r.append(ctx, id, offset, chunk)
	var j events.Job
	if err == nil {
		j, record, err = r.store.change(ctx, id, record, func(j *events.Job) error {
			now := r.store.clock.Now()
			if err := j.Renew(r.holder, now, r.lease); err != nil {
				return err
			}
			if j.LogSize < offset+int64(len(chunk)) {
				j.LogSize = offset + int64(len(chunk))
			}
			if progress != nil {
				j.Progress = *progress
			}
			if !j.CancelAfter.IsZero() && !now.Before(j.CancelAfter.Time) {
				return j.Cancel(now)
			}
			return fn(j)
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		// Kept for the next try, in front of what came meanwhile. The same chunk at the same offset
		// is no error, a longer one at it is: so what is retried is appended again from offset.
		rest := r.pending.String()
		r.pending.Reset()
		r.pending.WriteString(chunk)
		r.pending.WriteString(rest)
		if r.progress == nil {
			r.progress = progress
		}
		return err
	}
	r.job, r.record = j, record
	return nil
}

// append writes chunk at offset, in pieces; what an earlier try already wrote there is skipped.
func (r *Run) append(ctx context.Context, id events.JobID, offset int64, chunk string) error {
	if chunk == "" {
		return nil
	}
	there, err := retry.Value(ctx, r.store.clock, func() ([]byte, error) { return r.store.logs.Read(ctx, string(id), offset, 0) })
	if err != nil {
		return err
	}
	if len(there) > 0 {
		if !strings.HasPrefix(chunk, string(there)) {
			return events.ErrLeaseLost // another runner writes
		}
		offset += int64(len(there))
		chunk = chunk[len(there):]
	}
	for chunk != "" {
		n := min(len(chunk), infra.MaxLogChunk)
		piece := []byte(chunk[:n])
		err := retry.Do(ctx, r.store.clock, func() error { return r.store.logs.Append(ctx, string(id), offset, piece) })
		if errors.Is(err, infra.ErrConflict) {
			return events.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		offset += int64(n)
		chunk = chunk[n:]
	}
	return nil
}

// SaveCheckpoint notes the blob that an interrupted training goes on from. The blob was written before.
func (r *Run) SaveCheckpoint(ctx context.Context, key string) error {
	r.write.Lock()
	defer r.write.Unlock()
	return r.flush(ctx, func(j *events.Job) error {
		j.Checkpoint = key
		return nil
	})
}

// Succeed ends the job with its outputs, which were written before, and for a training with a
// destination makes the model's new version. On ErrTerminal or ErrNotFound the runner removes the
// outputs that it put and no record names: DropOutputs.
func (r *Run) Succeed(ctx context.Context, outputs ...events.OutputObject) error {
	r.write.Lock()
	defer r.write.Unlock()
	version := ""
	job := r.Job()
	if job.Destination != "" && len(outputs) > 0 {
		var err error
		if version, err = r.store.addVersion(ctx, &job, outputs[0]); err != nil {
			return err
		}
	}
	return r.flush(ctx, func(j *events.Job) error {
		return j.Succeed(r.holder, r.store.clock.Now(), outputs, version)
	})
}

// Fail ends the job with a reason for its owner.
func (r *Run) Fail(ctx context.Context, reason string) error {
	r.write.Lock()
	defer r.write.Unlock()
	return r.flush(ctx, func(j *events.Job) error { return j.Fail(r.holder, r.store.clock.Now(), reason) })
}

// HandBack gives the job back cleanly and sends a fresh message for it; it does not count as a crash.
// The caller then acknowledges the message it had.
func (r *Run) HandBack(ctx context.Context) error {
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.flush(ctx, func(j *events.Job) error { return j.HandBack(r.holder) }); err != nil {
		return err
	}
	return r.store.Enqueue(ctx, r.job.ID, r.job.Program)
}

// Break gives the job back because this runner's device failed under it, and sends a fresh message
// for it unless it was one failure too many. The caller then acknowledges the message it had.
func (r *Run) Break(ctx context.Context) error {
	r.write.Lock()
	defer r.write.Unlock()
	if err := r.flush(ctx, func(j *events.Job) error { return j.Break(r.holder, r.store.clock.Now()) }); err != nil {
		return err
	}
	if r.Job().Status.Terminal() {
		return nil
	}
	return r.store.Enqueue(ctx, r.job.ID, r.job.Program)
}

// DropOutputs removes all that was put under the job's output prefix, if the job did not succeed.
func (r *Run) DropOutputs(ctx context.Context) error {
	j := r.Job()
	now, err := r.store.Load(ctx, j.ID)
	if err == nil && (now.Status == events.Succeeded || now.Status == events.Processing) {
		return nil // named by the record, or another runner is at it
	}
	if err != nil && !errors.Is(err, infra.ErrNotFound) {
		return err
	}
	return r.store.removeBlobs(ctx, j.OutputKeyPrefix())
}
