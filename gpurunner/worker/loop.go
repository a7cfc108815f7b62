package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// The causes with which a program's context ends.
var (
	// ErrStopping: the runner stops; save a checkpoint.
	ErrStopping = errors.New("the runner is stopping")
	// ErrEnded: the job was canceled or deleted; nothing it makes is wanted.
	ErrEnded = errors.New("the job was canceled")
	// ErrLost: another runner has the job.
	ErrLost = errors.New("the job was given to another runner")
)

// ErrBroken is wrapped by errors of programs after which the process must not
// take another job: a device that is gone. The job is handed back, Run returns.
var ErrBroken = errors.New("the runner's device failed")

// Loop runs the jobs of one queue, one at a time.
type Loop struct {
	Ports    infra.Ports
	Queue    string
	Programs map[events.Program]Program
	Fetcher  Fetcher
	Scratch  string // folder for the jobs' folders
	Log      *slog.Logger

	Lease time.Duration // of job and message; 0 means 30 s
	Beat  time.Duration // between looks at the record; 0 means 1 s
}

const (
	defaultLease = 30 * time.Second
	defaultBeat  = time.Second
	longPoll     = 20 * time.Second
	// grace is how long the last writes of a job may take once the loop stops.
	grace = 20 * time.Second
)

// Run takes jobs until ctx ends, then hands back the one in hand. It returns an
// error only when it cannot go on: one that wraps ErrBroken.
func (l *Loop) Run(ctx context.Context) error {
	if l.Lease == 0 {
		l.Lease = defaultLease
	}
	if l.Beat == 0 {
		l.Beat = defaultBeat
	}
	if l.Log == nil {
		l.Log = slog.Default()
	}
	queue, store := l.Ports.Queues.Queue(l.Queue), predictions.New(l.Ports)
	for ctx.Err() == nil {
		messages, err := queue.Receive(ctx, 1, longPoll, l.Lease)
		if err != nil {
			if ctx.Err() == nil {
				l.Log.Warn("receive", "queue", l.Queue, "err", err)
				pause(ctx, time.Second)
			}
			continue
		}
		for _, m := range messages {
			if err := l.handle(ctx, queue, store, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// handle brings one message to its end. Its error ends the loop.
func (l *Loop) handle(ctx context.Context, queue infra.Queue, store *predictions.Store, m infra.Message) error {
	// What ends a job must be written even while the loop stops.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()

	msg, err := events.ParseRunJob(m.Body)
	if err != nil {
		l.Log.Error("dropped a message that is none", "queue", l.Queue, "message", m.ID, "err", err)
		l.ack(last, queue, m)
		return nil
	}
	run, err := store.Start(last, msg.ID, l.Lease)
	switch {
	case err == nil:
	case errors.Is(err, events.ErrTerminal), errors.Is(err, events.ErrLeased), errors.Is(err, events.ErrWaiting), errors.Is(err, infra.ErrNotFound):
		l.ack(last, queue, m)
		return nil
	default:
		l.Log.Warn("start", "job", msg.ID, "err", err)
		return nil // the message comes again
	}
	begun := time.Now()
	l.Log.Info("started", "job", msg.ID, "program", run.Job().Program, "receives", m.Receives)
	done, err := l.work(ctx, last, queue, run, m)
	l.Log.Info("ended", "job", msg.ID, "how", done, "seconds", time.Since(begun).Seconds())
	return err
}

// work runs the program and writes how it ended. Its error ends the loop.
func (l *Loop) work(ctx, last context.Context, queue infra.Queue, run *predictions.Run, m infra.Message) (how string, fatal error) {
	job := run.Job()
	program, ok := l.Programs[job.Program]
	if !ok {
		return l.end(last, queue, m, "failed", run.Fail(last, fmt.Sprintf("This runner has no program called %q.", job.Program))), nil
	}
	dir, err := os.MkdirTemp(l.Scratch, "job-*")
	if err != nil {
		l.Log.Error("no scratch folder", "err", err)
		return "left", nil
	}
	defer os.RemoveAll(dir)

	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ErrStopping) })()
	beating := make(chan struct{})
	beatCtx, stopBeat := context.WithCancel(last)
	go func() {
		defer close(beating)
		l.beat(beatCtx, queue, run, m, cancel)
	}()

	task := &Task{Dir: dir, run: run, blobs: l.Ports.Blobs, fetcher: l.Fetcher}
	err = l.call(inner, program, task)
	stopBeat()
	<-beating

	cause := context.Cause(inner)
	switch {
	case errors.Is(cause, ErrEnded):
		if err := run.DropOutputs(last); err != nil {
			l.Log.Warn("drop outputs", "job", job.ID, "err", err)
		}
		l.dropCheckpoint(last, job)
		return l.end(last, queue, m, "canceled", nil), nil
	case errors.Is(cause, ErrLost):
		return l.end(last, queue, m, "lost", nil), nil
	case err == nil:
		how = l.end(last, queue, m, "succeeded", run.Succeed(last, task.outputs...))
		if how == "succeeded" {
			l.dropCheckpoint(last, job)
		}
		return how, nil
	case errors.Is(err, ErrBroken):
		return l.end(last, queue, m, "handed back", run.HandBack(last)), err
	case errors.Is(cause, ErrStopping):
		return l.end(last, queue, m, "handed back", run.HandBack(last)), nil
	case isStore(err):
		l.Log.Warn("the store failed the job; it will come again", "job", job.ID, "err", err)
		return "left", nil
	default:
		return l.end(last, queue, m, "failed", run.Fail(last, err.Error())), nil
	}
}

// isStore reports whether err is a failure of the store that may pass, rather
// than one of the job.
func isStore(err error) bool {
	var e *infra.Error
	return errors.As(err, &e) && infra.Retryable(err)
}

// call runs the program; a panic is an error of its job, not the end of the
// runner. The stack goes to the process's log, never the values.
func (l *Loop) call(ctx context.Context, program Program, t *Task) (err error) {
	defer func() {
		if r := recover(); r != nil {
			l.Log.Error("panic", "job", t.run.Job().ID, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = errors.New("The runner met an internal error; its operator's log has the details.") //nolint:staticcheck // a sentence for the job's owner
		}
	}()
	return program(ctx, t)
}

// end acknowledges the message once the job's end is written; if that failed,
// the message is left to come again.
func (l *Loop) end(ctx context.Context, queue infra.Queue, m infra.Message, how string, err error) string {
	switch {
	case err == nil:
	case errors.Is(err, events.ErrTerminal), errors.Is(err, events.ErrLeaseLost), errors.Is(err, infra.ErrNotFound):
		how = "ended meanwhile"
	default:
		l.Log.Warn("the job's end could not be written; it will come again", "err", err)
		return "left"
	}
	l.ack(ctx, queue, m)
	return how
}

// beat writes what has gathered and keeps both leases, until ctx ends. It ends
// the program's context when the job is no longer this runner's.
func (l *Loop) beat(ctx context.Context, queue infra.Queue, run *predictions.Run, m infra.Message, cancel context.CancelCauseFunc) {
	extended := time.Now()
	for {
		if !pause(ctx, l.Beat) {
			return
		}
		switch err := run.Beat(ctx); {
		case err == nil:
		case errors.Is(err, events.ErrLeaseLost):
			cancel(ErrLost)
			return
		case errors.Is(err, events.ErrTerminal), errors.Is(err, infra.ErrNotFound):
			cancel(ErrEnded)
			return
		case ctx.Err() == nil:
			l.Log.Warn("beat", "job", run.Job().ID, "err", err)
		}
		if time.Since(extended) > l.Lease/3 {
			if err := queue.Extend(ctx, m.Receipt, l.Lease); err != nil && ctx.Err() == nil {
				// The record's lease is what counts; a message that comes
				// again finds the job leased.
				l.Log.Warn("extend", "job", run.Job().ID, "err", err)
			}
			extended = time.Now()
		}
	}
}

func (l *Loop) dropCheckpoint(ctx context.Context, job events.Job) {
	if err := l.Ports.Blobs.Delete(ctx, job.CheckpointKey()); err != nil {
		l.Log.Warn("drop checkpoint", "job", job.ID, "err", err)
	}
}

func (l *Loop) ack(ctx context.Context, queue infra.Queue, m infra.Message) {
	if err := queue.Ack(ctx, m.Receipt); err != nil && !errors.Is(err, infra.ErrGone) {
		l.Log.Warn("ack", "queue", l.Queue, "message", m.ID, "err", err)
	}
}

// pause waits, and reports whether it waited to the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
