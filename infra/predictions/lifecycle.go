package predictions

import (
	"context"
	"errors"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// QueueName is the queue that a program's jobs go through.
func QueueName(p events.Program) string {
	if p.Trains() {
		return infra.TrainingQueue
	}
	return infra.PredictionQueue
}

// Enqueue sends the job's message and notes that it did. It may be called again: a message more does
// no harm. If it fails, or its caller dies, the sweep sends the message.
func (s *Store) Enqueue(ctx context.Context, id events.JobID, p events.Program) error {
	if err := s.send(ctx, id, p, 0); err != nil {
		return err
	}
	_, err := s.Change(ctx, id, func(j *events.Job) error {
		if j.Status.Terminal() || j.Lease != nil {
			return errNoChange // a runner was quicker
		}
		j.QueuedAt = events.At(s.clock.Now())
		return nil
	})
	if errors.Is(err, infra.ErrNotFound) {
		return nil
	}
	return err
}

// send sends a message for the job.
func (s *Store) send(ctx context.Context, id events.JobID, p events.Program, delay time.Duration) error {
	body, err := events.Marshal(events.NewRunJob(id))
	if err != nil {
		return err
	}
	q := s.queues.Queue(QueueName(p))
	return retry.Do(ctx, s.clock, func() error { return q.Send(ctx, body, min(max(delay, 0), infra.MaxDelay)) })
}

// Waiting returns the ids of the jobs that wait for an upload.
func (s *Store) Waiting(ctx context.Context, key string) ([]events.JobID, error) {
	var waiting []infra.Record
	err := retry.Do(ctx, s.clock, func() (err error) {
		waiting, err = s.index.ByUpload(ctx, key)
		return err
	})
	ids := make([]events.JobID, len(waiting))
	for i, r := range waiting {
		ids[i] = events.JobID(r.ID)
	}
	return ids, err
}

// Arrived frees the jobs that wait for an upload and queues them, pinned to the generation that
// arrived: a second PUT changes nothing for them. With a refusal, a sentence that says why the upload
// cannot be used, they fail instead. Called again it does nothing.
func (s *Store) Arrived(ctx context.Context, o events.ObjectCreated, refusal string) error {
	waiting, err := s.Waiting(ctx, o.Key)
	if err != nil {
		return err
	}
	for _, id := range waiting {
		j, err := s.Change(ctx, id, func(j *events.Job) error {
			if j.Status.Terminal() || j.WaitsFor != o.Key {
				return errNoChange
			}
			if refusal != "" {
				return j.GiveUp(s.clock.Now(), refusal)
			}
			j.WaitsFor = ""
			for i := range j.Sources {
				if j.Sources[i].Key == o.Key && j.Sources[i].Generation == "" {
					j.Sources[i].Generation = o.Generation
				}
			}
			return nil
		})
		if errors.Is(err, infra.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if !j.Status.Terminal() && j.WaitsFor == "" && j.QueuedAt.IsZero() {
			if err := s.Enqueue(ctx, j.ID, j.Program); err != nil {
				return err
			}
		}
	}
	return nil
}

// againAfter is how much later a job comes back each time that it or its neighbours take down a runner: what passes by
// itself, such as another program's hunger for memory, shall not use up a job's tries within seconds.
const againAfter = 15 * time.Second

// Forsake says that a runner is dead, and that these messages of a queue were leased to it. Its jobs are free at once,
// as if their leases had run out, and the messages come again, at once the first time; without it both happen by
// themselves, later. Only who knows that the runner's process has ended may call it.
func (s *Store) Forsake(ctx context.Context, queue, runner string, held []infra.Message) error {
	var errs []error
	for _, m := range held {
		// The job first: a message that found it leased would be acknowledged.
		if run, err := events.ParseRunJob(m.Body); err == nil {
			_, err := s.Change(ctx, run.ID, func(j *events.Job) error {
				if j.Forsake(runner, s.clock.Now()) != nil {
					return errNoChange // it had ended, or the message came a second time and another runner has the job
				}
				return nil
			})
			if err != nil && !errors.Is(err, infra.ErrNotFound) {
				errs = append(errs, err)
				continue
			}
		}
		wait := time.Duration(m.Receives-1) * againAfter
		err := retry.Do(ctx, s.clock, func() error { return s.queues.Queue(queue).Extend(ctx, m.Receipt, wait) })
		if err != nil && !errors.Is(err, infra.ErrGone) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Cancel ends the job at its owner's wish. One that has ended stays as it is, and that is no error.
func (s *Store) Cancel(ctx context.Context, id events.JobID) (events.Job, error) {
	return s.Change(ctx, id, func(j *events.Job) error {
		if j.Cancel(s.clock.Now()) != nil {
			return errNoChange
		}
		return nil
	})
}

// Remove deletes the job with its log, outputs, checkpoint and the version it made. From the first
// moment on no one sees it; if the call dies in the middle the sweep finishes it.
func (s *Store) Remove(ctx context.Context, id events.JobID) error {
	_, err := s.Change(ctx, id, func(j *events.Job) error {
		_ = j.Cancel(s.clock.Now()) // has ended already: as well
		j.Deleted = true
		return nil
	})
	if err != nil {
		return err
	}
	return s.finishRemoval(ctx, id)
}

// finishRemoval removes what a deleted job leaves; the record goes last.
func (s *Store) finishRemoval(ctx context.Context, id events.JobID) error {
	j, _, err := s.get(ctx, id)
	if errors.Is(err, infra.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, prefix := range []string{j.OutputKeyPrefix(), j.CheckpointKeyPrefix()} {
		if err := s.removeBlobs(ctx, prefix); err != nil {
			return err
		}
	}
	if j.NewVersion != "" {
		if err := s.removeVersion(ctx, &j); err != nil {
			return err
		}
	}
	if err := retry.Do(ctx, s.clock, func() error { return s.logs.Delete(ctx, string(id)) }); err != nil {
		return err
	}
	return retry.Do(ctx, s.clock, func() error { return s.jobs.Delete(ctx, string(id), infra.AnyVersion) })
}

// removeBlobs deletes every blob under a prefix.
func (s *Store) removeBlobs(ctx context.Context, prefix string) error {
	for {
		var page infra.Page[infra.BlobInfo]
		err := retry.Do(ctx, s.clock, func() (err error) {
			page, err = s.blobs.List(ctx, prefix, "", 0)
			return err
		})
		if err != nil || len(page.Items) == 0 {
			return err
		}
		for _, b := range page.Items {
			if err := retry.Do(ctx, s.clock, func() error { return s.blobs.Delete(ctx, b.Key) }); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
	}
}

// Overdue is one look of the sweep at what is due: uploads that never came, cancellations whose time
// has come, leases that ran out, messages that were not sent, removals that were not finished. It
// returns the number of jobs it changed; errors of single jobs are joined, the others are done.
func (s *Store) Overdue(ctx context.Context) (changed int, err error) {
	now := s.clock.Now()
	cursor := ""
	var errs []error
	for {
		page, err := retry.Value(ctx, s.clock, func() (infra.Page[infra.Record], error) { return s.index.Due(ctx, now, cursor, 0) })
		if err != nil {
			return changed, errors.Join(append(errs, err)...)
		}
		for _, r := range page.Items {
			if err := s.overdue(ctx, events.JobID(r.ID)); err != nil && !errors.Is(err, infra.ErrNotFound) {
				errs = append(errs, err)
				continue
			}
			changed++
		}
		if page.Next == "" {
			return changed, errors.Join(errs...)
		}
		cursor = page.Next
	}
}

func (s *Store) overdue(ctx context.Context, id events.JobID) error {
	j, _, err := s.get(ctx, id)
	if err != nil {
		return err
	}
	if j.Deleted {
		return s.finishRemoval(ctx, id)
	}
	send := false
	j, err = s.Change(ctx, id, func(j *events.Job) error {
		now := s.clock.Now()
		send = false
		switch {
		case j.Status.Terminal():
			return nil // written as it is: that clears what is due
		case !j.CancelAfter.IsZero() && !now.Before(j.CancelAfter.Time):
			return j.Cancel(now)
		case j.WaitsFor != "":
			if now.Before(j.CreatedAt.Add(UploadDeadline)) {
				return errNoChange
			}
			return j.GiveUp(now, "The zip was not uploaded: nothing was PUT to the upload_url within an hour.")
		case j.Lease != nil:
			j.Expire(now)
			return nil
		}
		send = true
		return nil
	})
	if err != nil || !send {
		return err
	}
	return s.Enqueue(ctx, j.ID, j.Program)
}

// maxResends is how often a job whose message died gets another.
const maxResends = 10

// DeadLetters looks after the jobs whose messages died, unless a fresher message is on its way or a
// runner holds them. A message may die without its job having stopped a runner: it counts as received, too,
// when the store fails the runner that took it, or the answer is lost. Only leases that ran out count against
// a job, so it gets a message more, up to a limit. The letters stay where they are, for people to look at.
func (s *Store) DeadLetters(ctx context.Context, queue string) error {
	letters, err := s.queues.Queue(queue).DeadLetters(ctx, 1000)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range letters {
		run, err := events.ParseRunJob(m.Body)
		if err != nil {
			continue
		}
		if err := s.deadLetter(ctx, run.ID, m.SentAt); err != nil && !errors.Is(err, infra.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *Store) deadLetter(ctx context.Context, id events.JobID, sent time.Time) error {
	send := false
	j, err := s.Change(ctx, id, func(j *events.Job) error {
		send = false
		if j.Status.Terminal() || j.Lease != nil || j.QueuedAt.IsZero() || sent.Before(j.QueuedAt.Add(-time.Minute)) {
			return errNoChange
		}
		if j.Resends >= maxResends {
			return j.GiveUp(s.clock.Now(), "The job could not be started: no runner got as far as to begin it. Its operator's log has the details.")
		}
		j.Resends++
		send = true
		return nil
	})
	if err != nil || !send {
		return err
	}
	return s.Enqueue(ctx, id, j.Program)
}
