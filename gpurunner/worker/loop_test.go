package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
)

func TestSucceeds(t *testing.T) {
	bubble(t, func(f *fixture) {
		j := f.job()
		stop := f.run(f.loop(func(ctx context.Context, t *worker.Task) error {
			t.Logf("Using seed: %d", 7)
			if err := os.WriteFile(filepath.Join(t.Dir, "work"), []byte("x"), 0o600); err != nil {
				return err
			}
			for i := range 2 {
				if err := t.Output(ctx, fmt.Sprintf("out-%d.png", i), "image/png", strings.NewReader(fmt.Sprint("picture ", i))); err != nil {
					return err
				}
			}
			return nil
		}))
		defer stop()
		got := f.wait(j.ID)
		if got.Status != events.Succeeded || len(got.Outputs) != 2 || got.Lease != nil || got.Crashes != 0 {
			t.Errorf("got %+v", got)
		}
		for i, o := range got.Outputs {
			blob, err := f.ports.Blobs.Stat(f.Context(), o.Key, "")
			if err != nil || blob.Size != o.Size || blob.SHA256 != o.SHA256 || !strings.HasSuffix(o.Key, fmt.Sprintf("/out-%d.png", i)) || o.ContentType != "image/png" {
				t.Errorf("output %+v: blob %+v, %v", o, blob, err)
			}
		}
		if log := f.text(got); log != "Using seed: 7\n" {
			t.Errorf("log %q", log)
		}
		time.Sleep(time.Second) // for the acknowledgement
		if d := f.depth(infra.PredictionQueue); d != (infra.Depth{}) {
			t.Errorf("the queue holds %+v", d)
		}
		f.noScratch()
	})
}

// What a program fails with is its owner's to read, and what went wrong inside
// of the service is not.
func TestFails(t *testing.T) {
	const internal = "The runner met an internal error; its operator's log has the details."
	const file = "The runner could not read or keep one of the job's files; its operator's log has the details."
	const full = "The service's disk is full; its operator has to free some space. Try again then."
	secret := "/srv/secret/place"
	for _, c := range []struct {
		name, want string
		program    worker.Program
	}{
		{"ErrSentence", "the zip has no images", func(context.Context, *worker.Task) error { return errors.New("the zip has no images") }},
		{"ErrPanic", internal, func(context.Context, *worker.Task) error { panic("index out of " + secret) }},
		{"ErrNilPanic", internal, func(_ context.Context, t *worker.Task) error { var none *worker.Task; none.Dir = t.Dir; return nil }},
		{"ErrFolder", file, func(context.Context, *worker.Task) error {
			_, err := os.Open(secret)
			return fmt.Errorf("image: %w", err)
		}},
		{"ErrKey", file, func(context.Context, *worker.Task) error {
			return fmt.Errorf("x: %w", &infra.Error{Op: "blobs.Get", Kind: infra.ErrNotFound, Key: secret})
		}},
		{"ErrFull", full, func(context.Context, *worker.Task) error {
			return &infra.Error{Op: "blobs.Put", Kind: infra.ErrFull, Key: secret}
		}},
		{"ErrScratchFull", full, func(context.Context, *worker.Task) error {
			return &fs.PathError{Op: "write", Path: secret, Err: syscall.ENOSPC}
		}},
		{"ErrOutputAndSentence", "too dark", func(ctx context.Context, t *worker.Task) error {
			return errors.Join(t.Output(ctx, "out-0.png", "image/png", strings.NewReader("x")), errors.New("too dark"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				j := f.job()
				stop := f.run(f.loop(c.program))
				defer stop()
				got := f.wait(j.ID)
				if got.Status != events.Failed || got.Error != c.want {
					t.Errorf("got %s %q, want failed %q", got.Status, got.Error, c.want)
				}
				time.Sleep(time.Second)
				if left := f.blobs("outputs/"); len(left) > 0 {
					t.Errorf("a failed job has left %q", left)
				}
				// The runner goes on with the next job.
				if d := f.depth(infra.PredictionQueue); d != (infra.Depth{}) {
					t.Errorf("the queue holds %+v", d)
				}
				f.noScratch()
			})
		})
	}
}

func TestUnknownProgram(t *testing.T) {
	bubble(t, func(f *fixture) {
		l := f.loop(nil)
		l.Programs = nil
		j := f.job()
		defer f.run(l)()
		if got := f.wait(j.ID); got.Status != events.Failed || got.Error != `This runner has no program called "lora".` {
			t.Errorf("got %s %q", got.Status, got.Error)
		}
	})
}

// A canceled job's program learns of it within two seconds, also in the middle of
// a step, and nothing that the job has put stays.
func TestCancel(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*fixture, events.JobID) error
		want events.Status
	}{
		{"Cancel", func(f *fixture, id events.JobID) error { _, err := f.store.Cancel(f.Context(), id); return err }, events.Canceled},
		{"Delete", func(f *fixture, id events.JobID) error { return f.store.Remove(f.Context(), id) }, ""},
		{"CancelAfter", func(*fixture, events.JobID) error { return nil }, events.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				const after = 10*time.Second + 300*time.Millisecond
				j := f.job(training, func(j *events.Job) {
					if c.name == "CancelAfter" {
						j.CancelAfter = events.At(time.Now().Add(after))
					}
				})
				var told time.Time
				var cause error
				l := f.loop(func(ctx context.Context, t *worker.Task) error {
					if err := t.Output(ctx, "half.safetensors", "application/octet-stream", strings.NewReader("x")); err != nil {
						return err
					}
					save(t, "step 1")
					err := untilEnd(ctx)
					told, cause = time.Now(), err
					save(t, "step 2") // as a training does when it is stopped
					return err
				})
				l.Queue = infra.TrainingQueue
				stop := f.run(l)
				time.Sleep(after)
				asked := time.Now()
				f.must(c.end(f, j.ID))
				time.Sleep(5 * time.Second)
				stop()
				if d := told.Sub(asked); d < 0 || d > 2*time.Second {
					t.Errorf("the program learnt of it after %v", d)
				}
				if !errors.Is(cause, worker.ErrEnded) {
					t.Errorf("cause %v", cause)
				}
				if got, err := f.store.Load(f.Context(), j.ID); c.want == "" && !errors.Is(err, infra.ErrNotFound) || c.want != "" && got.Status != c.want {
					t.Errorf("got %v, %v", got.Status, err)
				}
				for _, prefix := range []string{"outputs/", "checkpoints/"} {
					if left := f.blobs(prefix); len(left) > 0 {
						t.Errorf("left: %q", left)
					}
				}
				if d := f.depth(infra.TrainingQueue); d != (infra.Depth{}) {
					t.Errorf("the queue holds %+v", d)
				}
				f.noScratch()
			})
		})
	}
}

// A job that is canceled between the program's end and the last write stays
// canceled, and its outputs go.
func TestCancelAtTheEnd(t *testing.T) {
	bubble(t, func(f *fixture) {
		j := f.job()
		stop := f.run(f.loop(func(ctx context.Context, t *worker.Task) error {
			if err := put("late")(ctx, t); err != nil {
				return err
			}
			_, err := f.store.Cancel(ctx, j.ID)
			return err
		}))
		time.Sleep(3 * time.Second)
		stop()
		if got := f.load(j.ID); got.Status != events.Canceled || len(got.Outputs) > 0 {
			t.Errorf("got %s with %v", got.Status, got.Outputs)
		}
		if left := f.blobs("outputs/"); len(left) > 0 {
			t.Errorf("left: %q\n%s", left, &f.log)
		}
	})
}

// One write of the log and of progress a second, however much a program says.
func TestLogIsGathered(t *testing.T) {
	bubble(t, func(f *fixture) {
		var appends, updates atomic.Int32
		f.ports.Logs = countedLogs{f.ports.Logs, &appends}
		f.ports.Jobs = countedJobs{f.ports.Jobs, &updates}
		j := f.job()
		updates.Store(0)
		const steps, seconds = 2000, 20
		stop := f.run(f.loop(func(ctx context.Context, t *worker.Task) error {
			for i := range steps {
				time.Sleep(seconds * time.Second / steps)
				t.Logf("line %d", i)
				t.Step("tuning", i+1, steps, 0.5, "loss=0.5000")
			}
			return nil
		}))
		defer stop()
		got := f.wait(j.ID)
		log := f.text(got)
		lines := regexp.MustCompile(`(?m)^line \d+$`).FindAllString(log, -1)
		if len(lines) != steps || lines[steps-1] != fmt.Sprintf("line %d", steps-1) {
			t.Errorf("%d lines of %d", len(lines), steps)
		}
		// As python's and npm's clients look for it.
		bars := regexp.MustCompile(`(?m)^\s*(\d+)%\s*\|.+?\|\s*(\d+)/(\d+)`).FindAllStringSubmatch(log, -1)
		if len(bars) < seconds-1 || len(bars) > seconds+2 {
			t.Errorf("%d progress lines in %d seconds", len(bars), seconds)
		}
		if last := bars[len(bars)-1]; last[1] != "100" || last[2] != fmt.Sprint(steps) {
			t.Errorf("last progress %q", last[0])
		}
		if got.Progress != (events.Progress{Stage: "tuning", Done: steps, Total: steps, Loss: 0.5}) {
			t.Errorf("progress %+v", got.Progress)
		}
		if n := appends.Load(); n > seconds+1 {
			t.Errorf("%d writes of the log in %d seconds", n, seconds)
		}
		if n := updates.Load(); n > seconds+3 { // and start, queued, end
			t.Errorf("%d writes of the record in %d seconds", n, seconds)
		}
	})
}

type countedLogs struct {
	infra.Logs
	n *atomic.Int32
}

func (c countedLogs) Append(ctx context.Context, id string, offset int64, chunk []byte) error {
	c.n.Add(1)
	return c.Logs.Append(ctx, id, offset, chunk)
}

type countedJobs struct {
	infra.Jobs
	n *atomic.Int32
}

func (c countedJobs) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	c.n.Add(1)
	return c.Jobs.Update(ctx, r)
}

// Two runners share a queue: each job runs once, two at a time. A message that
// comes twice changes nothing.
func TestTwoRunners(t *testing.T) {
	bubble(t, func(f *fixture) {
		var mu sync.Mutex
		runs := map[events.JobID]int{}
		now, most := 0, 0
		program := func(ctx context.Context, t *worker.Task) error {
			mu.Lock()
			runs[t.Job().ID]++
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(7 * time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return put("x")(ctx, t)
		}
		var ids []events.JobID
		for range 10 {
			j := f.job()
			f.must(f.store.Enqueue(f.Context(), j.ID, j.Program)) // again
			ids = append(ids, j.ID)
		}
		begun := time.Now()
		for range 2 {
			defer f.run(f.loop(program))()
		}
		for _, id := range ids {
			if got := f.wait(id); got.Status != events.Succeeded || got.Crashes+got.HandBacks != 0 {
				t.Errorf("got %+v", got)
			}
			mu.Lock()
			if runs[id] != 1 {
				t.Errorf("%s ran %d times", id, runs[id])
			}
			mu.Unlock()
		}
		mu.Lock()
		defer mu.Unlock()
		if most != 2 {
			t.Errorf("%d at a time", most)
		}
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("took %v for ten jobs of seven seconds", took)
		}
	})
}

// Messages that are none are dropped, and the loop goes on.
func TestGarbage(t *testing.T) {
	bubble(t, func(f *fixture) {
		q := f.ports.Queues.Queue(infra.PredictionQueue)
		for _, body := range []string{"x", "{}", `{"type":"job.run","id":"../../etc"}`, `{"type":"job.run","id":"` + events.NewID() + `"}`} {
			f.must(q.Send(f.Context(), []byte(body), 0))
		}
		j := f.job()
		stop := f.run(f.loop(put("x")))
		if got := f.wait(j.ID); got.Status != events.Succeeded {
			t.Errorf("got %+v", got)
		}
		stop()
		if d := f.depth(infra.PredictionQueue); d != (infra.Depth{}) {
			t.Errorf("the queue holds %+v", d)
		}
	})
}

// What a job says and fails with never reaches the process's log.
func TestLogIsPrivate(t *testing.T) {
	bubble(t, func(f *fixture) {
		j := f.job(func(j *events.Job) { j.Input = []byte(`{"prompt":"whispered"}`) })
		stop := f.run(f.loop(func(_ context.Context, t *worker.Task) error {
			t.Logf("whispered")
			return errors.New("whispered is no prompt")
		}))
		f.wait(j.ID)
		stop()
		if log := f.log.String(); strings.Contains(log, "whispered") || !strings.Contains(log, string(j.ID)) {
			t.Errorf("log %q", log)
		}
	})
}
