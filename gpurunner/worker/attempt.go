package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// attempt is this runner's turn at one job.
type attempt struct {
	*Loop
	store   *predictions.Store
	queue   infra.Queue
	message infra.Message
	run     *predictions.Run
	last    context.Context // for what must be written even while the loop stops
}

// jobDir begins the names of the jobs' folders.
const jobDir = "job-"

// maxReturns is how often a job is handed back before a failure of the store
// fails it after all: a store that never takes its files.
const maxReturns = 20

// work runs the program and writes how it ended. Its error ends the loop.
func (a *attempt) work(ctx context.Context) (how string, fatal error) {
	job := a.run.Job()
	program, ok := a.Programs[job.Program]
	if !ok {
		return a.fail(fmt.Sprintf("This runner has no program called %q.", job.Program)), nil
	}
	dir, err := os.MkdirTemp(a.Scratch, jobDir+"*")
	if err != nil {
		a.Log.Error("no scratch folder", "err", err)
		return a.giveBack(ctx, err), nil
	}
	defer os.RemoveAll(dir)

	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ErrStopping) })()
	beating := make(chan struct{})
	beatCtx, stopBeat := context.WithCancel(a.last)
	go func() {
		defer close(beating)
		a.beat(beatCtx, cancel)
	}()

	task := &Task{Dir: dir, run: a.run, blobs: a.Ports.Blobs, clock: a.Ports.Clock, fetcher: a.Fetcher, log: a.Log}
	err = a.call(inner, program, task)
	stopBeat()
	<-beating

	cause := context.Cause(inner)
	switch {
	case errors.Is(cause, ErrEnded):
		a.drop(a.last, a.store, job)
		a.ack(a.last, a.queue, a.message)
		return "canceled", nil
	case errors.Is(cause, ErrLost):
		return "lost", nil // the message may be the job's only one
	case err == nil:
		return a.end("succeeded", func() error { return a.run.Succeed(a.last, task.outputs...) }), nil
	case errors.Is(err, ErrBroken):
		a.Log.Error("the device failed; its job goes back to the queue and this runner ends", "job", job.ID, "err", err)
		return a.end("handed back", func() error { return a.run.Break(a.last) }), err
	case errors.Is(cause, ErrStopping):
		return a.handBack(), nil
	case isStore(err):
		return a.giveBack(ctx, err), nil
	default:
		return a.fail(a.reason(err)), nil
	}
}

// call runs the program; a panic is an error of its job, not the end of the
// runner. The stack goes to the process's log, never the values.
func (a *attempt) call(ctx context.Context, program Program, t *Task) (err error) {
	defer func() {
		if r := recover(); r != nil {
			a.Log.Error("panic", "job", t.run.Job().ID, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = errors.New("The runner met an internal error; its operator's log has the details.") //nolint:staticcheck // a sentence for the job's owner
		}
	}()
	return program(ctx, t)
}

// isStore reports whether err is a failure of the store that may pass, rather
// than one of the job.
func isStore(err error) bool {
	var e *infra.Error
	return errors.As(err, &e) && infra.Retryable(err)
}

// reason is what the job's owner reads: a program's own sentence, and nothing of
// the store's keys or the machine's folders.
func (a *attempt) reason(err error) string {
	var port *infra.Error
	var file *fs.PathError
	switch {
	case errors.Is(err, infra.ErrFull), diskFull(err):
		a.Log.Error("no space left", "job", a.run.Job().ID, "err", err)
		return "The service's disk is full; its operator has to free some space. Try again then."
	case errors.As(err, &port), errors.As(err, &file):
		a.Log.Error("failed", "job", a.run.Job().ID, "err", err)
		return "The runner could not read or keep one of the job's files; its operator's log has the details."
	}
	return err.Error()
}

func (a *attempt) fail(reason string) string {
	return a.end("failed", func() error { return a.run.Fail(a.last, reason) })
}

func (a *attempt) handBack() string {
	return a.end("handed back", func() error { return a.run.HandBack(a.last) })
}

// giveBack hands back a job that met a failure of the store or of this machine,
// after a while in which that may pass. One that was handed back very often fails.
func (a *attempt) giveBack(ctx context.Context, err error) string {
	job := a.run.Job()
	a.Log.Warn("the job met a failure that is not its own; it will come again", "job", job.ID, "err", err)
	if job.HandBacks >= maxReturns {
		return a.fail("The service's store did not take or give the job's files; its operator's log has the details.")
	}
	a.pause(ctx, a.Lease/3)
	return a.handBack()
}

// end writes the job's end, again and again while its lease may last, and then
// acknowledges the message. If it cannot be written the message comes again.
func (a *attempt) end(how string, write func() error) string {
	begun := a.now()
	err := write()
	for (isStore(err) || errors.Is(err, infra.ErrFull)) && a.now().Sub(begun) < a.Lease && a.pause(a.last, a.Beat) {
		err = write()
	}
	switch {
	case errors.Is(err, events.ErrTerminal), errors.Is(err, infra.ErrNotFound):
		how = "ended meanwhile"
		a.drop(a.last, a.store, a.run.Job())
	case errors.Is(err, events.ErrLeaseLost):
		return "lost"
	case err != nil:
		a.Log.Warn("the job's end could not be written; it will come again", "job", a.run.Job().ID, "err", err)
		return "left"
	case a.run.Job().Status.Terminal():
		a.drop(a.last, a.store, a.run.Job())
	}
	a.ack(a.last, a.queue, a.message)
	return how
}

// beat writes what has gathered and keeps both leases, until ctx ends. It ends
// the program's context when the job is no longer this runner's.
func (a *attempt) beat(ctx context.Context, cancel context.CancelCauseFunc) {
	extended := a.now()
	for a.pause(ctx, a.Beat) {
		switch err := a.run.Beat(ctx); {
		case err == nil && a.run.Job().Status.Terminal(): // its time was over
			cancel(ErrEnded)
			return
		case err == nil:
		case errors.Is(err, events.ErrLeaseLost):
			cancel(ErrLost)
			return
		case errors.Is(err, events.ErrTerminal), errors.Is(err, infra.ErrNotFound):
			cancel(ErrEnded)
			return
		case ctx.Err() == nil:
			a.Log.Warn("beat", "job", a.run.Job().ID, "err", err)
		}
		if a.now().Sub(extended) > a.Lease/3 {
			if err := a.queue.Extend(ctx, a.message.Receipt, a.visibility()); err != nil && ctx.Err() == nil {
				// The record's lease is what counts; a message that comes
				// again finds the job leased.
				a.Log.Warn("extend", "job", a.run.Job().ID, "err", err)
			}
			extended = a.now()
		}
	}
}
