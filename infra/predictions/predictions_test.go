package predictions_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
)

const lease = 30 * time.Second

// clock stands still until it is advanced; After never waits.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
func (c *clock) After(time.Duration) <-chan time.Time {
	ch := make(chan time.Time, 1)
	ch <- c.Now()
	return ch
}

type fixture struct {
	*predictions.Store
	ports infra.Ports
	clock *clock
	t     *testing.T
}

// open makes a store over the embedded ports; wrap may stand between.
func open(t *testing.T, wrap func(infra.Ports) infra.Ports) *fixture {
	t.Helper()
	c := &clock{now: time.Date(2023, 2, 7, 12, 0, 0, 0, time.UTC)}
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p := s.Ports()
	if wrap != nil {
		p = wrap(p)
	}
	return &fixture{predictions.New(p), p, c, t}
}

// job stores a job, changed by the given functions, and queues it unless it waits.
func (f *fixture) job(change ...func(*events.Job)) events.Job {
	f.t.Helper()
	j := events.Job{
		ID: events.JobID(events.NewID()), Owner: "me", Model: "replicate/lora", Version: events.AnnouncedLoraID, Program: events.ProgramLora, Base: "embedded",
		Input: json.RawMessage(`{}`), OutputSecret: events.NewSecret(), OutputTemp: events.NewTempName(), StreamSecret: events.NewSecret(),
		Status: events.Starting, CreatedAt: events.At(f.clock.Now()), Links: events.Links{API: "http://h", Outputs: "http://h"},
	}
	for _, c := range change {
		c(&j)
	}
	if err := f.Create(f.t.Context(), &j); err != nil {
		f.t.Fatal(err)
	}
	if j.WaitsFor == "" {
		if err := f.Enqueue(f.t.Context(), j.ID, j.Program); err != nil {
			f.t.Fatal(err)
		}
	}
	return j
}

func (f *fixture) load(id events.JobID) events.Job {
	f.t.Helper()
	j, err := f.Load(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return j
}

func (f *fixture) start(id events.JobID) *predictions.Run {
	f.t.Helper()
	r, err := f.Start(f.t.Context(), id, lease)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// messages takes all that waits in a queue.
func (f *fixture) messages(queue string) int {
	f.t.Helper()
	ms, err := f.ports.Queues.Queue(queue).Receive(f.t.Context(), 10, 0, time.Millisecond)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range ms {
		if err := f.ports.Queues.Queue(queue).Ack(f.t.Context(), m.Receipt); err != nil {
			f.t.Fatal(err)
		}
	}
	return len(ms)
}

func (f *fixture) sweep() {
	f.t.Helper()
	if _, err := f.Overdue(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunSucceeds(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	if n := f.messages(infra.PredictionQueue); n != 1 {
		t.Fatalf("%d messages", n)
	}
	r := f.start(j.ID)
	r.Logf("Using seed: %d", 7)
	r.Progress(events.Progress{Stage: "sampling", Done: 1, Total: 2})
	must(t, r.Beat(t.Context()))
	if got := f.load(j.ID); got.Status != events.Processing || got.Progress.Done != 1 || got.LogSize == 0 {
		t.Errorf("got %+v", got)
	}
	r.Log("second\n")
	must(t, r.Succeed(t.Context(), events.OutputObject{Key: j.OutputKey("out-0.png"), Size: 1}))
	got := f.load(j.ID)
	log, err := f.Log(t.Context(), &got)
	if err != nil || log != "Using seed: 7\nsecond\n" || got.Status != events.Succeeded || len(got.Outputs) != 1 {
		t.Errorf("got %q, %v, %+v", log, err, got)
	}
	if err := r.Succeed(t.Context()); !errors.Is(err, events.ErrTerminal) {
		t.Errorf("ended twice: %v", err)
	}
	if _, err := f.Start(t.Context(), j.ID, lease); !errors.Is(err, events.ErrTerminal) {
		t.Errorf("started after its end: %v", err)
	}
}

// TestZombie holds that a runner which was thought dead writes neither job nor log.
func TestZombie(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	old := f.start(j.ID)
	old.Log("from the first\n")
	must(t, old.Beat(t.Context()))
	f.messages(infra.PredictionQueue)
	if _, err := f.Start(t.Context(), j.ID, lease); !errors.Is(err, events.ErrLeased) {
		t.Errorf("two leases: %v", err)
	}
	if n := f.messages(infra.PredictionQueue); n != 0 {
		t.Errorf("%d messages before the lease is over", n)
	}
	f.clock.advance(lease + 3*time.Second)
	if n := f.messages(infra.PredictionQueue); n != 1 {
		t.Errorf("%d messages once the lease is over", n)
	}
	fresh := f.start(j.ID)
	fresh.Log("from the second\n")
	must(t, fresh.Beat(t.Context()))
	old.Log("from beyond the grave\n")
	if err := old.Beat(t.Context()); !errors.Is(err, events.ErrLeaseLost) {
		t.Errorf("the zombie's beat: %v", err)
	}
	if err := old.Succeed(t.Context(), events.OutputObject{Key: "wrong"}); !errors.Is(err, events.ErrLeaseLost) {
		t.Errorf("the zombie's success: %v", err)
	}
	must(t, fresh.Succeed(t.Context(), events.OutputObject{Key: "right"}))
	got := f.load(j.ID)
	log, err := f.Log(t.Context(), &got)
	if err != nil || log != "from the first\nfrom the second\n" || got.Outputs[0].Key != "right" || got.Crashes != 1 {
		t.Errorf("got %q, %v, %+v", log, err, got)
	}
}

// TestLogAheadOfRecord holds that log which a dying runner appended and did not note is kept.
func TestLogAheadOfRecord(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	r := f.start(j.ID)
	r.Log("noted\n")
	must(t, r.Beat(t.Context()))
	must(t, f.ports.Logs.Append(t.Context(), string(j.ID), 6, []byte("not noted\n")))
	f.clock.advance(lease + time.Second)
	r = f.start(j.ID)
	r.Log("after\n")
	must(t, r.Fail(t.Context(), "why"))
	got := f.load(j.ID)
	if log, err := f.Log(t.Context(), &got); err != nil || log != "noted\nnot noted\nafter\n" {
		t.Errorf("got %q, %v", log, err)
	}
}

func TestLogIsBounded(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	r := f.start(j.ID)
	for range 10 {
		r.Log(strings.Repeat("x", 1<<20-1) + "\n")
		must(t, r.Beat(t.Context()))
	}
	if got := f.load(j.ID); got.LogSize > predictions.MaxLog+200 || got.LogSize < predictions.MaxLog-1<<20 {
		t.Errorf("a log of %d bytes", got.LogSize)
	}
}

func TestCancelReachesTheRunner(t *testing.T) {
	f := open(t, nil)
	for name, busy := range map[string]bool{"Idle": false, "Writing": true} {
		t.Run(name, func(t *testing.T) {
			j := f.job()
			r := f.start(j.ID)
			if _, err := f.Cancel(t.Context(), j.ID); err != nil {
				t.Fatal(err)
			}
			if busy {
				r.Log("x\n")
			}
			if err := r.Beat(t.Context()); !errors.Is(err, events.ErrTerminal) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("Deleted", func(t *testing.T) {
		j := f.job()
		r := f.start(j.ID)
		must(t, f.Remove(t.Context(), j.ID))
		if err := r.Beat(t.Context()); !errors.Is(err, infra.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("CancelAfter", func(t *testing.T) {
		j := f.job(func(j *events.Job) { j.CancelAfter = events.At(f.clock.Now().Add(5 * time.Second)) })
		r := f.start(j.ID)
		must(t, r.Beat(t.Context()))
		f.clock.advance(6 * time.Second)
		must(t, r.Beat(t.Context()))
		if got := f.load(j.ID); got.Status != events.Canceled {
			t.Errorf("got %s", got.Status)
		}
		if err := r.Beat(t.Context()); !errors.Is(err, events.ErrTerminal) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHandBack(t *testing.T) {
	f := open(t, nil)
	j := f.job(func(j *events.Job) { j.Program = events.ProgramTraining })
	f.messages(infra.TrainingQueue)
	for range 5 {
		r := f.start(j.ID)
		must(t, r.SaveCheckpoint(t.Context(), j.CheckpointKeyPrefix()+"1"))
		must(t, r.HandBack(t.Context()))
		if n := f.messages(infra.TrainingQueue); n != 1 {
			t.Fatalf("%d fresh messages", n)
		}
	}
	got := f.load(j.ID)
	if got.Crashes != 0 || got.HandBacks != 5 || got.Status != events.Processing || got.Checkpoint != j.CheckpointKeyPrefix()+"1" {
		t.Errorf("got %+v", got)
	}
}

// TestCrashes holds that a job which kills its runner three times fails with a reason, found by the
// sweep or by the next runner, whichever comes first.
func TestCrashes(t *testing.T) {
	for _, how := range []string{"Sweep", "Runner"} {
		t.Run(how, func(t *testing.T) {
			f := open(t, nil)
			j := f.job()
			for i := range events.MaxCrashes {
				if got := f.load(j.ID); got.Status.Terminal() {
					t.Fatalf("given up after %d", i)
				}
				f.start(j.ID)
				f.clock.advance(lease + 3*time.Second)
				if how == "Sweep" {
					f.sweep()
				}
			}
			if how == "Runner" {
				if _, err := f.Start(t.Context(), j.ID, lease); !errors.Is(err, predictions.ErrGivenUp) {
					t.Errorf("got %v", err)
				}
			}
			if _, err := f.Start(t.Context(), j.ID, lease); !errors.Is(err, predictions.ErrGivenUp) || errors.Is(err, events.ErrTerminal) {
				t.Errorf("its message would be acknowledged: %v", err)
			}
			if got := f.load(j.ID); got.Status != events.Failed || !strings.Contains(got.Error, "3 times") {
				t.Errorf("got %s %q", got.Status, got.Error)
			}
		})
	}
}

// TestConcurrentWriters holds that no change is lost between writers.
func TestConcurrentWriters(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				id := events.NewID()
				_, err := f.Change(context.Background(), j.ID, func(j *events.Job) error {
					j.Sources = append(j.Sources, events.Source{Name: id})
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := f.load(j.ID); len(got.Sources) != 200 {
		t.Errorf("%d of 200 changes", len(got.Sources))
	}
}

// flakyJobs fails every third call, every second time after it took effect.
type flakyJobs struct {
	infra.Jobs
	mu sync.Mutex
	n  int
}

func (f *flakyJobs) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	f.mu.Lock()
	f.n++
	n := f.n
	f.mu.Unlock()
	away := &infra.Error{Op: "jobs.Update", Kind: infra.ErrUnavailable}
	switch {
	case n%6 == 3:
		return infra.Record{}, away
	case n%6 == 0:
		if _, err := f.Jobs.Update(ctx, r); err != nil {
			return infra.Record{}, err
		}
		return infra.Record{}, away // the answer is lost
	}
	return f.Jobs.Update(ctx, r)
}

// TestLostAnswers holds that a write whose answer was lost is neither repeated nor taken for another's.
func TestLostAnswers(t *testing.T) {
	f := open(t, func(p infra.Ports) infra.Ports { p.Jobs = &flakyJobs{Jobs: p.Jobs}; return p })
	for range 30 {
		j := f.job()
		r := f.start(j.ID)
		want := ""
		for i := range 5 {
			line := strings.Repeat("x", i) + "\n"
			r.Log(line)
			want += line
			must(t, r.Beat(t.Context()))
		}
		must(t, r.Succeed(t.Context(), events.OutputObject{Key: "k"}))
		got := f.load(j.ID)
		log, err := f.Log(t.Context(), &got)
		if err != nil || log != want || got.Status != events.Succeeded || got.Crashes != 0 {
			t.Fatalf("got %q, %v, %+v", log, err, got)
		}
	}
}

// TestTrainingMakesAVersion holds that doing so twice makes one.
func TestTrainingMakesAVersion(t *testing.T) {
	f := open(t, nil)
	j := f.job(func(j *events.Job) { j.Program, j.Training, j.Destination = events.ProgramTraining, true, "me/bob" })
	r := f.start(j.ID)
	must(t, r.Succeed(t.Context(), events.OutputObject{Key: j.OutputKey("x.safetensors"), SHA256: "ab"}))
	got := f.load(j.ID)
	if !strings.HasPrefix(got.NewVersion, "me/bob:") {
		t.Errorf("got %q", got.NewVersion)
	}
	page, err := f.ports.Documents.List(t.Context(), "versions/me", "", infra.ListOptions{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d versions, %v", len(page.Items), err)
	}
	must(t, f.Remove(t.Context(), j.ID))
	if page, err = f.ports.Documents.List(t.Context(), "versions/me", "", infra.ListOptions{}); err != nil || len(page.Items) != 0 {
		t.Errorf("%d versions stay, %v", len(page.Items), err)
	}
}

func TestDropOutputs(t *testing.T) {
	f := open(t, nil)
	j := f.job()
	r := f.start(j.ID)
	key := j.OutputKey("out-0.png")
	put := func() {
		_, err := f.ports.Blobs.Put(t.Context(), key, strings.NewReader("x"), infra.PutOptions{})
		must(t, err)
	}
	put()
	must(t, r.DropOutputs(t.Context()))
	if _, err := f.ports.Blobs.Stat(t.Context(), key, ""); err != nil {
		t.Errorf("dropped while the job runs: %v", err)
	}
	_, err := f.Cancel(t.Context(), j.ID)
	must(t, err)
	must(t, r.DropOutputs(t.Context()))
	if _, err := f.ports.Blobs.Stat(t.Context(), key, ""); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("a canceled job's output stays: %v", err)
	}
}
