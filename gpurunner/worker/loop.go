package worker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
// take another job: a device that is gone. The job goes back to the queue and Run
// returns. That counts as a crash, should it be the job that breaks devices.
var ErrBroken = errors.New("the runner's device failed")

// Loop runs the jobs of one queue: one at a time, or some together.
type Loop struct {
	Ports    infra.Ports
	Queue    string
	Programs map[events.Program]Program
	Fetcher  Fetcher
	Scratch  string // folder for the jobs' folders
	Log      *slog.Logger
	Name     string // of this process, for predictions.Store.Forsake; may be empty

	// Together reports whether two jobs may run at the same time; nil: none may. It is
	// asked again while a job runs, which may have told it more. Most is how many at
	// once, at most.
	Together func(a, b events.Job) bool
	Most     int

	Lease time.Duration // of the job; 0 means 30 s
	Beat  time.Duration // between looks at the record; 0 means 1 s
}

const (
	defaultLease = 30 * time.Second
	defaultBeat  = time.Second
	longPoll     = 20 * time.Second
	// grace is how long the last writes of a job may take once the loop stops.
	grace = 20 * time.Second
)

// visibility is the message's lease: longer than the job's, for a message that
// came again first would find the job leased, and be acknowledged for nothing.
func (l *Loop) visibility() time.Duration { return l.Lease + l.Lease/2 }

// Run takes jobs until ctx ends, then hands back those in hand. It returns an
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
	if l.Ports.Clock == nil {
		l.Ports.Clock = infra.SystemClock{}
	}
	l.sweepScratch()
	return newShift(l).run(ctx)
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
	case errors.Is(err, events.ErrTerminal), errors.Is(err, infra.ErrNotFound):
		// It was canceled while no runner had it, or the one that had it died before
		// it cleared up.
		l.drop(last, store, events.Job{ID: msg.ID, Program: events.ProgramTraining})
		l.ack(last, queue, m)
		return nil
	case errors.Is(err, events.ErrLeased), errors.Is(err, events.ErrWaiting):
		l.ack(last, queue, m)
		return nil
	default:
		l.Log.Warn("start", "job", msg.ID, "err", err)
		return nil // the message comes again
	}
	begun := l.now()
	l.Log.Info("started", "job", msg.ID, "program", run.Job().Program, "receives", m.Receives)
	a := &attempt{Loop: l, store: store, queue: queue, message: m, run: run, last: last}
	done, err := a.work(ctx)
	l.Log.Info("ended", "job", msg.ID, "how", done, "seconds", l.now().Sub(begun).Seconds())
	return err
}

// abandoned is the age at which a job's folder is no runner's any more: one that
// is at work writes into it again and again.
const abandoned = 24 * time.Hour

// sweepScratch removes what runners that died have left on this machine.
func (l *Loop) sweepScratch() {
	entries, err := os.ReadDir(l.Scratch)
	if err != nil {
		return // the first job will say so
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), jobDir) || time.Since(info.ModTime()) < abandoned {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.Scratch, e.Name())); err != nil {
			l.Log.Warn("an old job's folder stays", "err", err)
		}
	}
}

func (l *Loop) ack(ctx context.Context, queue infra.Queue, m infra.Message) {
	if err := queue.Ack(ctx, m.Receipt); err != nil && !errors.Is(err, infra.ErrGone) {
		l.Log.Warn("ack", "queue", l.Queue, "message", m.ID, "err", err)
	}
}

func (l *Loop) now() time.Time { return l.Ports.Clock.Now() }

// pause waits, and reports whether it waited to the end.
func (l *Loop) pause(ctx context.Context, d time.Duration) bool {
	return infra.Sleep(ctx, l.Ports.Clock, d) == nil
}
