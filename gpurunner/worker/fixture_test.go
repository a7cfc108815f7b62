package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
)

// clock is the bubble's, but for pauses of less than a beat: a retry waits with a
// lock held, and for those who wait for a lock a bubble's time stands still.
type clock struct{ infra.SystemClock }

func (clock) After(d time.Duration) <-chan time.Time {
	if d >= time.Second {
		return time.After(d)
	}
	now := make(chan time.Time, 1)
	now <- time.Now()
	return now
}

// fixture is a data folder with a runner's loop on it. Tests run in a synctest
// bubble: the real store, real leases and beats of the length that the service
// has, and a clock that leaps when everyone waits. Times in it are exact.
type fixture struct {
	*testing.T
	dir   string
	disk  *local.Store
	ports infra.Ports // disk's, unless a test puts others in their place
	store *predictions.Store
	name  string // of loops
	// scratch is where loops put the jobs' folders.
	scratch string
	log     bytes.Buffer // what runners log; complete when they have stopped
	logger  *slog.Logger
}

// bubble runs f with a fixture.
func bubble(t *testing.T, f func(*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := local.Open(t.Context(), dir, local.Options{Clock: clock{}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		fix := &fixture{T: t, dir: dir, disk: s, ports: s.Ports(), store: predictions.New(s.Ports()), scratch: t.TempDir()}
		fix.logger = slog.New(slog.NewTextHandler(&fix.log, nil))
		f(fix)
	})
}

// job stores a job and queues it.
func (f *fixture) job(change ...func(*events.Job)) events.Job {
	f.Helper()
	j := events.Job{
		ID: events.JobID(events.NewID()), Owner: "me", Model: "replicate/lora", Version: events.AnnouncedLoraID, Program: events.ProgramLora, Base: "embedded",
		Input: json.RawMessage(`{}`), OutputSecret: events.NewSecret(), OutputTemp: events.NewTempName(), StreamSecret: events.NewSecret(),
		Status: events.Starting, CreatedAt: events.At(time.Now()), Links: events.Links{API: "http://h", Outputs: "http://h"},
	}
	for _, c := range change {
		c(&j)
	}
	f.must(f.store.Create(f.Context(), &j))
	f.must(f.store.Enqueue(f.Context(), j.ID, j.Program))
	return j
}

// training makes a job one that trains.
func training(j *events.Job) { j.Program, j.Model = events.ProgramTraining, "replicate/lora-training" }

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) load(id events.JobID) events.Job {
	f.Helper()
	j, err := f.store.Load(f.Context(), id)
	f.must(err)
	return j
}

// wait returns the job once it has ended.
func (f *fixture) wait(id events.JobID) events.Job {
	f.Helper()
	for range 36000 {
		if j := f.load(id); j.Status.Terminal() {
			return j
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Fatalf("the job has not ended in an hour: %+v", f.load(id))
	return events.Job{}
}

// until waits for what happens within an hour.
func (f *fixture) until(done func() bool) {
	f.Helper()
	for range 36000 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	f.Fatal("it has not happened in an hour")
}

// text is the job's log.
func (f *fixture) text(j events.Job) string {
	f.Helper()
	s, err := f.store.Log(f.Context(), &j)
	f.must(err)
	return s
}

// loop is a loop on the queue of the jobs that f.job makes.
func (f *fixture) loop(p worker.Program) *worker.Loop {
	return &worker.Loop{
		Ports: f.ports, Queue: infra.PredictionQueue, Scratch: f.scratch, Log: f.logger, Name: f.name,
		Programs: map[events.Program]worker.Program{events.ProgramLora: p, events.ProgramTraining: p},
	}
}

// run starts a loop; stop is SIGTERM, and waits for its end.
func (f *fixture) run(l *worker.Loop) (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			f.Errorf("the loop ended: %v", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// sweep does what the service does every second until stop.
func (f *fixture) sweep() (stop func()) {
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan struct{})
	clock := f.ports.Clock // tests put other ports in place meanwhile
	go func() {
		defer close(done)
		for infra.Sleep(ctx, clock, time.Second) == nil {
			if _, err := f.store.Overdue(ctx); err != nil && ctx.Err() == nil {
				f.Error(err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// blobs lists the keys under a prefix.
func (f *fixture) blobs(prefix string) []string {
	f.Helper()
	page, err := f.ports.Blobs.List(f.Context(), prefix, "", 0)
	f.must(err)
	var keys []string
	for _, b := range page.Items {
		keys = append(keys, b.Key)
	}
	return keys
}

// depth looks at the queue of the jobs.
func (f *fixture) depth(queue string) infra.Depth {
	f.Helper()
	d, err := f.ports.Queues.Queue(queue).Depth(f.Context())
	f.must(err)
	return d
}

// noScratch checks that no job has left a folder.
func (f *fixture) noScratch() {
	f.Helper()
	left, err := os.ReadDir(f.scratch)
	f.must(err)
	for _, e := range left {
		f.Errorf("left in the scratch folder: %s", e.Name())
	}
}

// put is a program that puts one output and ends.
func put(text string) worker.Program {
	return func(ctx context.Context, t *worker.Task) error {
		return t.Output(ctx, "out-0.png", "image/png", strings.NewReader(text))
	}
}

// untilEnd waits for the end of ctx, as a program in the middle of a step does.
func untilEnd(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
