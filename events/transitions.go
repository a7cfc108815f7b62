package events

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxCrashes is how many runners a job may take down before it is given up.
const MaxCrashes = 3

// What a transition may refuse with. All are final for the one who asked: trying again with the same
// job gives the same answer.
var (
	// ErrTerminal: the job has ended (also: was canceled) and never changes again.
	ErrTerminal = errors.New("the job has ended")
	// ErrLeased: another runner holds the job.
	ErrLeased = errors.New("another runner holds the job")
	// ErrLeaseLost: the writer's lease is no longer the job's; it must stop and write nothing more.
	ErrLeaseLost = errors.New("the lease on the job was lost")
	// ErrWaiting: the job waits for its upload.
	ErrWaiting = errors.New("the job waits for its upload")
)

// Start gives the job to holder until now+lease. A lease that ran out counts as a crash of its
// holder; after MaxCrashes the job fails and Start returns ErrTerminal. Starting twice with the same
// holder only renews.
func (j *Job) Start(holder string, now time.Time, lease time.Duration) error {
	if j.Status.Terminal() {
		return ErrTerminal
	}
	if j.WaitsFor != "" {
		return ErrWaiting
	}
	if j.Lease != nil && j.Lease.Holder != holder {
		if now.Before(j.Lease.Until.Time) {
			return ErrLeased
		}
		if j.Expire(now) {
			return ErrTerminal
		}
	}
	j.Status = Processing
	if j.StartedAt.IsZero() {
		j.StartedAt = At(now)
	}
	j.Lease = &Lease{Holder: holder, Until: At(now.Add(lease))}
	return nil
}

// Expire takes away a lease that has run out, counts the crash, and reports whether that was one too
// many, in which case the job has failed. It does nothing while the lease lasts.
func (j *Job) Expire(now time.Time) (gaveUp bool) {
	if j.Status.Terminal() || j.Lease == nil || now.Before(j.Lease.Until.Time) {
		return false
	}
	j.Lease = nil
	j.Crashes++
	if j.Crashes < MaxCrashes {
		return false
	}
	j.end(Failed, now, fmt.Sprintf("The job stopped its runner %d times and was given up. It may need more memory than the machine has; try a smaller resolution or batch size.", j.Crashes))
	return true
}

// Held reports whether holder may write the job: ErrTerminal (canceled, for example) or ErrLeaseLost
// mean that the runner must stop.
func (j *Job) Held(holder string) error {
	switch {
	case j.Status.Terminal():
		return ErrTerminal
	case j.Lease == nil || j.Lease.Holder != holder:
		return ErrLeaseLost
	}
	return nil
}

// Renew keeps holder's lease until now+lease.
func (j *Job) Renew(holder string, now time.Time, lease time.Duration) error {
	if err := j.Held(holder); err != nil {
		return err
	}
	j.Lease.Until = At(now.Add(lease))
	return nil
}

// HandBack gives the job back cleanly, for another runner to go on with. It does not count as a crash.
// The status stays processing: a job never moves backwards.
func (j *Job) HandBack(holder string) error {
	if err := j.Held(holder); err != nil {
		return err
	}
	j.Lease = nil
	j.HandBacks++
	j.QueuedAt = Time{} // a fresh message is due; the sweep sends it if the runner cannot
	return nil
}

// Break gives the job back at once because its holder's device failed under it: a crash that need not
// wait for the end of the lease. After MaxCrashes the job fails.
func (j *Job) Break(holder string, now time.Time) error {
	if err := j.Held(holder); err != nil {
		return err
	}
	j.Lease.Until = At(now)
	if !j.Expire(now) {
		j.QueuedAt = Time{} // as after HandBack
	}
	return nil
}

// Forsake takes the job from a runner that is known to be dead: its lease is over now, and that counts as one that
// ran out. runner is the beginning of its holders' names. ErrLeaseLost: another one holds the job, or none.
func (j *Job) Forsake(runner string, now time.Time) error {
	switch {
	case j.Status.Terminal():
		return ErrTerminal
	case j.Lease == nil || runner == "" || !strings.HasPrefix(j.Lease.Holder, runner+"."):
		return ErrLeaseLost
	}
	j.Lease.Until = At(now)
	j.Expire(now)
	return nil
}

// Succeed ends the job with its outputs. newVersion is "owner/name:id" for a training, else "".
func (j *Job) Succeed(holder string, now time.Time, outputs []OutputObject, newVersion string) error {
	if err := j.Held(holder); err != nil {
		return err
	}
	j.Outputs, j.NewVersion = outputs, newVersion
	j.end(Succeeded, now, "")
	return nil
}

// Fail ends the job with a reason that its owner reads: one clear sentence.
func (j *Job) Fail(holder string, now time.Time, reason string) error {
	if err := j.Held(holder); err != nil {
		return err
	}
	j.end(Failed, now, reason)
	return nil
}

// GiveUp ends a job that no runner holds the right to end: dead letters, uploads that never came.
func (j *Job) GiveUp(now time.Time, reason string) error {
	if j.Status.Terminal() {
		return ErrTerminal
	}
	j.end(Failed, now, reason)
	return nil
}

// Cancel ends the job at its owner's wish, whoever holds it. The runner finds out at its next write
// or look. A job that has ended stays as it is: ErrTerminal.
func (j *Job) Cancel(now time.Time) error {
	if j.Status.Terminal() {
		return ErrTerminal
	}
	j.end(Canceled, now, "")
	return nil
}

func (j *Job) end(s Status, now time.Time, reason string) {
	j.Status, j.CompletedAt, j.Error = s, At(now), clip(reason, 2000)
	j.Lease, j.WaitsFor = nil, ""
	if s == Failed && j.Error == "" {
		j.Error = "The job failed for a reason that was not recorded."
	}
}

// clip cuts s to at most n bytes, at a character's edge, and drops what is not UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for len(s) > 0 && !utf8.ValidString(s) && n-len(s) < utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	if !utf8.ValidString(s) {
		return string([]rune(s))
	}
	return s
}
