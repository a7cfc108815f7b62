package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/faulty"
	"github.com/lowrank/lowrank/infra/local"
)

// save stores text as the job's checkpoint, whatever became of the program's
// context.
func save(t *worker.Task, text string) error {
	path := filepath.Join(t.Dir, "checkpoint")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return t.SaveCheckpoint(context.Background(), path)
}

// counting is a program of so many steps of a second, with a checkpoint after
// each tenth and when it is stopped. Its output tells the steps; made counts
// those that were computed.
func counting(steps int, made *atomic.Int32) worker.Program {
	return func(ctx context.Context, t *worker.Task) error {
		path := filepath.Join(t.Dir, "restored")
		if err := t.RestoreCheckpoint(ctx, path); err != nil {
			return err
		}
		text := ""
		if b, err := os.ReadFile(path); err == nil {
			text = string(b)
		}
		for n := strings.Count(text, "\n"); n < steps; n++ {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return errors.Join(context.Cause(ctx), save(t, text))
			}
			text += strconv.Itoa(n) + "\n"
			made.Add(1)
			t.Step("tuning", n+1, steps, 1, "")
			if n%10 == 9 && n+1 < steps {
				if err := save(t, text); err != nil {
					return err
				}
			}
		}
		return t.Output(ctx, "out", "text/plain", strings.NewReader(text))
	}
}

// counted is what the program counting puts.
func counted(steps int) string {
	text := ""
	for n := range steps {
		text += strconv.Itoa(n) + "\n"
	}
	return text
}

// output reads the job's only output.
func (f *fixture) output(j events.Job) string {
	f.Helper()
	if len(j.Outputs) != 1 {
		f.Fatalf("%s with outputs %v, error %q", j.Status, j.Outputs, j.Error)
	}
	blob, err := f.ports.Blobs.Get(f.Context(), j.Outputs[0].Key, infra.GetOptions{})
	f.must(err)
	defer blob.Body.Close()
	text, err := io.ReadAll(blob.Body)
	f.must(err)
	return string(text)
}

// killable is a loop as a process: kill ends it between two instructions, and
// nothing that it does afterwards reaches the store.
func (f *fixture) killable(p worker.Program) (l *worker.Loop, kill func()) {
	var dead atomic.Bool
	l = f.loop(p)
	l.Ports, _ = faulty.Wrap(f.ports, faulty.Plan{FailBefore: 1, Only: func(string) bool { return dead.Load() }})
	stop := f.run(l)
	return l, func() {
		dead.Store(true)
		stop()
	}
}

// SIGTERM: the program saves, the job goes back with a fresh message, and another
// runner ends it with the same bytes. That does not count as a crash.
func TestStopHandsBack(t *testing.T) {
	bubble(t, func(f *fixture) {
		var made atomic.Int32
		j, before := f.job(), ""
		for range 3 {
			stop := f.run(f.loop(counting(95, &made)))
			time.Sleep(25*time.Second + 500*time.Millisecond)
			asked := time.Now()
			stop()
			if d := time.Since(asked); d > 2*time.Second {
				t.Errorf("stopping took %v", d)
			}
			if got := f.load(j.ID); got.Status != events.Processing || got.Lease != nil {
				t.Errorf("after the stop: %s, lease %v", got.Status, got.Lease)
			}
			// Each has a key of its own, which a store that keeps versions of a key forgets with it.
			kept := f.blobs("checkpoints/")
			if len(kept) != 1 || kept[0] == before {
				t.Errorf("checkpoints after the stop: %q, before %q", kept, before)
			}
			before = strings.Join(kept, "")
		}
		defer f.run(f.loop(counting(95, &made)))()
		got := f.wait(j.ID)
		if got.Status != events.Succeeded || got.Crashes != 0 || got.HandBacks != 3 {
			t.Errorf("got %s, %d crashes, %d hand-backs", got.Status, got.Crashes, got.HandBacks)
		}
		if text := f.output(got); text != counted(95) || made.Load() != 95 {
			t.Errorf("%d steps were made for %q", made.Load(), text)
		}
		time.Sleep(time.Second)
		if left := f.blobs("checkpoints/"); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		if d := f.depth(infra.PredictionQueue); d != (infra.Depth{}) {
			t.Errorf("the queue holds %+v", d)
		}
		f.noScratch()
	})
}

// An idle runner stops at once, in the middle of its long poll.
func TestStopIdle(t *testing.T) {
	bubble(t, func(f *fixture) {
		stop := f.run(f.loop(put("x")))
		time.Sleep(3 * time.Second)
		begun := time.Now()
		stop()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// A runner dies: its job comes back by itself within the message's lease, goes on
// from the checkpoint, and ends as if nothing had been.
func TestCrashGoesOn(t *testing.T) {
	for _, swept := range []bool{true, false} {
		t.Run(fmt.Sprintf("swept=%v", swept), func(t *testing.T) {
			bubble(t, func(f *fixture) {
				if swept {
					defer f.sweep()()
				}
				var made atomic.Int32
				j := f.job()
				_, kill := f.killable(counting(40, &made))
				time.Sleep(25*time.Second + 500*time.Millisecond)
				kill()
				died := time.Now()
				defer f.run(f.loop(counting(40, &made)))()
				for f.load(j.ID).Lease == nil || f.load(j.ID).Crashes == 0 {
					time.Sleep(100 * time.Millisecond)
				}
				if d := time.Since(died); d > time.Minute {
					t.Errorf("the job came back after %v", d)
				}
				got := f.wait(j.ID)
				if text := f.output(got); got.Crashes != 1 || text != counted(40) || made.Load() != 45 {
					t.Errorf("%d crashes, %d steps made, output %q", got.Crashes, made.Load(), text)
				}
			})
		})
	}
}

// What a runner held that is known to have died goes on with another at once, from
// the checkpoint; the job that had not begun comes again too, and what another
// runner holds stays with it.
func TestForsaken(t *testing.T) {
	bubble(t, func(f *fixture) {
		var made, others atomic.Int32
		other := f.job()
		live := f.loop(counting(100, &others))
		live.Name = "live"
		defer f.run(live)()
		f.until(func() bool { return f.load(other.ID).Lease != nil })

		process, err := local.Open(f.Context(), f.dir, local.Options{Clock: clock{}, Name: "dead"})
		f.must(err)
		defer process.Close()
		here := f.ports
		f.ports = process.Ports()
		f.name = "dead"
		j := f.job()
		_, kill := f.killable(counting(40, &made))
		f.ports, f.name = here, ""
		time.Sleep(25*time.Second + 500*time.Millisecond)
		held, err := f.disk.Held(f.Context(), infra.PredictionQueue, "dead")
		f.must(err)
		if len(held) != 1 || !strings.HasPrefix(f.load(j.ID).Lease.Holder, "dead.") {
			t.Fatalf("the runner holds %d messages, and the job's lease is %v", len(held), f.load(j.ID).Lease)
		}
		kill()
		// A message more of the other's job, which the dead runner had received and not looked at.
		f.must(f.store.Enqueue(f.Context(), other.ID, other.Program))
		_, err = process.Ports().Queues.Queue(infra.PredictionQueue).Receive(f.Context(), 1, 0, time.Minute)
		f.must(err)
		defer f.run(f.loop(counting(40, &made)))()

		held, err = f.disk.Held(f.Context(), infra.PredictionQueue, "dead")
		f.must(err)
		if len(held) != 2 {
			t.Fatalf("the dead runner held %d messages", len(held))
		}
		f.must(f.store.Forsake(f.Context(), infra.PredictionQueue, "dead", held))
		died := time.Now()
		f.until(func() bool { return f.load(j.ID).Lease != nil })
		if d := time.Since(died); d > 2*time.Second {
			t.Errorf("the job went on after %v", d)
		}
		got := f.wait(j.ID)
		if text := f.output(got); got.Crashes != 1 || text != counted(40) || made.Load() != 45 {
			t.Errorf("%d crashes, %d steps made, output %q", got.Crashes, made.Load(), text)
		}
		got = f.wait(other.ID)
		if text := f.output(got); got.Crashes != 0 || text != counted(100) || others.Load() != 100 {
			t.Errorf("the other job: %d crashes, %d steps made", got.Crashes, others.Load())
		}
	})
}

// A runner that dies soon after it began: the message must not come back before
// the job's lease is over, for it would be acknowledged as one of a job that
// another runner has.
func TestCrashEarly(t *testing.T) {
	bubble(t, func(f *fixture) {
		defer f.sweep()()
		j := f.job()
		plain := f.ports
		// Between the message's lease and the job's there is a moment.
		f.ports, _ = faulty.Wrap(plain, faulty.Plan{Slow: 1, MaxSlow: 500 * time.Millisecond, Only: func(op string) bool { return op == "jobs.Get" }})
		_, kill := f.killable(func(ctx context.Context, _ *worker.Task) error { return untilEnd(ctx) })
		time.Sleep(3 * time.Second)
		kill()
		f.ports = plain
		defer f.run(f.loop(put("x")))()
		if got := f.wait(j.ID); got.Status != events.Succeeded || got.CompletedAt.Sub(got.CreatedAt.Time) > time.Minute {
			t.Errorf("%s after %v", got.Status, got.CompletedAt.Sub(got.CreatedAt.Time))
		}
	})
}

// A job that kills its runner three times fails with a reason, its message stays
// to be seen as a dead letter, and the next job is not held up.
func TestCrashThrice(t *testing.T) {
	bubble(t, func(f *fixture) {
		defer f.sweep()()
		j := f.job()
		for range 3 {
			started := make(chan struct{})
			_, kill := f.killable(func(ctx context.Context, t *worker.Task) error {
				close(started)
				return untilEnd(ctx)
			})
			<-started
			time.Sleep(time.Second)
			kill()
		}
		defer f.run(f.loop(put("x")))()
		got := f.wait(j.ID)
		if got.Status != events.Failed || got.Crashes != events.MaxCrashes || !strings.Contains(got.Error, "stopped its runner 3 times") {
			t.Errorf("got %s, %d crashes, %q", got.Status, got.Crashes, got.Error)
		}
		next := f.job()
		if got := f.wait(next.ID); got.Status != events.Succeeded {
			t.Errorf("the next job: %s %q", got.Status, got.Error)
		}
		time.Sleep(time.Minute)
		letters, err := f.ports.Queues.Queue(infra.PredictionQueue).DeadLetters(f.Context(), 10)
		f.must(err)
		ids := make([]string, len(letters))
		for i, m := range letters {
			ids[i] = string(m.Body)
		}
		if len(letters) != 1 || !strings.Contains(ids[0], string(j.ID)) {
			t.Errorf("dead letters %q, want one of %s", ids, j.ID)
		}
	})
}

// A runner that could not renew its lease stops, and writes nothing over what the
// other runner does.
func TestLeaseLost(t *testing.T) {
	bubble(t, func(f *fixture) {
		defer f.sweep()()
		j := f.job()
		var cut atomic.Bool
		var cause error
		l := f.loop(func(ctx context.Context, t *worker.Task) error {
			t.Logf("the first")
			cause = untilEnd(ctx)
			return nil // it might as well have finished in that moment
		})
		l.Ports, _ = faulty.Wrap(f.ports, faulty.Plan{FailBefore: 1, Only: func(string) bool { return cut.Load() }})
		stop := f.run(l)
		time.Sleep(5 * time.Second)
		cut.Store(true)
		time.Sleep(time.Minute)
		defer f.run(f.loop(func(ctx context.Context, t *worker.Task) error {
			t.Logf("the second")
			time.Sleep(20 * time.Second)
			return put("second")(ctx, t)
		}))()
		for f.load(j.ID).Lease == nil {
			time.Sleep(time.Second)
		}
		cut.Store(false)
		got := f.wait(j.ID)
		stop()
		if !errors.Is(cause, worker.ErrLost) {
			t.Errorf("cause %v", cause)
		}
		if text := f.output(got); text != "second" || got.Crashes != 1 || f.text(got) != "the first\nthe second\n" {
			t.Errorf("output %q, %d crashes, log %q", text, got.Crashes, f.text(got))
		}
	})
}

// The store fails for a while: that is not the job's fault, and no work is lost.
func TestStoreAway(t *testing.T) {
	for _, c := range []struct {
		name     string
		ops      []string
		from     time.Duration // after the job's start
		to       time.Duration
		handBack int
	}{
		{"Beat", []string{"jobs.Get", "jobs.Update", "logs.Append", "logs.Read", "queue.Extend"}, 10500 * time.Millisecond, 25 * time.Second, 0},
		{"End", []string{"jobs.Get", "jobs.Update", "logs.Append"}, 29 * time.Second, 45 * time.Second, 0},
		{"Output", []string{"blobs.Put"}, 29900 * time.Millisecond, 36 * time.Second, 1},
		{"Checkpoint", []string{"blobs.Put"}, 19900 * time.Millisecond, 26 * time.Second, 0},
		{"Receive", []string{"queue.Receive"}, -time.Second, 10 * time.Second, 0},
		{"Ack", []string{"queue.Ack"}, 0, time.Minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				defer f.sweep()()
				var made atomic.Int32
				j := f.job()
				begun := time.Now()
				l := f.loop(counting(30, &made))
				var faults *faulty.Faults
				l.Ports, faults = faulty.Wrap(f.ports, faulty.Plan{FailBefore: 1, Only: func(op string) bool {
					d := time.Since(begun)
					return slices.Contains(c.ops, op) && d >= c.from && d < c.to
				}})
				stop := f.run(l)
				got := f.wait(j.ID)
				time.Sleep(3 * time.Minute)
				stop()
				if text := f.output(got); text != counted(30) {
					t.Errorf("output %q", text)
				}
				if got.Crashes != 0 || got.HandBacks != c.handBack {
					t.Errorf("%d crashes, %d hand-backs", got.Crashes, got.HandBacks)
				}
				met := 0
				for what, n := range faults.Counts() {
					if strings.HasSuffix(what, " before") {
						met += n
					}
				}
				if met == 0 {
					t.Error("no call met the fault")
				}
				if d := f.depth(infra.PredictionQueue); d.Dead+d.Waiting+d.Leased != 0 {
					t.Errorf("the queue holds %+v", d)
				}
			})
		})
	}
}

// A store that never takes the outputs does not keep a job for ever.
func TestStoreGone(t *testing.T) {
	bubble(t, func(f *fixture) {
		defer f.sweep()()
		j := f.job()
		l := f.loop(put("x"))
		l.Ports, _ = faulty.Wrap(f.ports, faulty.Plan{FailBefore: 1, Only: func(op string) bool { return op == "blobs.Put" }})
		defer f.run(l)()
		got := f.wait(j.ID)
		if got.Status != events.Failed || got.Crashes != 0 || !strings.Contains(got.Error, "store") {
			t.Errorf("got %s, %d crashes, %q", got.Status, got.Crashes, got.Error)
		}
	})
}

// What breaks off half way is made again at once.
func TestBrokenBodies(t *testing.T) {
	bubble(t, func(f *fixture) {
		var made atomic.Int32
		j := f.job()
		stop := f.run(f.loop(counting(15, &made)))
		time.Sleep(12 * time.Second)
		stop()
		var calls atomic.Int32
		l := f.loop(counting(15, &made))
		l.Ports, _ = faulty.Wrap(f.ports, faulty.Plan{Break: 1, Only: func(op string) bool {
			return strings.HasPrefix(op, "blobs.") && calls.Add(1)%3 != 0
		}})
		defer f.run(l)()
		got := f.wait(j.ID)
		if text := f.output(got); text != counted(15) || made.Load() != 15 {
			t.Errorf("%d steps were made for %q", made.Load(), text)
		}
	})
}

// A checkpoint that is gone costs time, not the job.
func TestCheckpointGone(t *testing.T) {
	bubble(t, func(f *fixture) {
		var made atomic.Int32
		j := f.job()
		stop := f.run(f.loop(counting(12, &made)))
		time.Sleep(11 * time.Second)
		stop()
		f.must(f.ports.Blobs.Delete(f.Context(), f.load(j.ID).Checkpoint))
		made.Store(0)
		defer f.run(f.loop(counting(12, &made)))()
		if got := f.wait(j.ID); f.output(got) != counted(12) || made.Load() != 12 {
			t.Errorf("%d steps made", made.Load())
		}
	})
}

// A broken device ends the runner. Should the job be what breaks devices, it is
// given up like any that kills its runner.
func TestBroken(t *testing.T) {
	bubble(t, func(f *fixture) {
		defer f.sweep()()
		j := f.job()
		var runs int
		l := f.loop(func(context.Context, *worker.Task) error {
			runs++
			return fmt.Errorf("launch: %w", worker.ErrBroken)
		})
		for range events.MaxCrashes {
			if err := l.Run(f.Context()); !errors.Is(err, worker.ErrBroken) {
				t.Errorf("Run returned %v", err)
			}
		}
		if got := f.wait(j.ID); got.Status != events.Failed || runs != events.MaxCrashes {
			t.Errorf("got %s after %d runs", got.Status, runs)
		}
	})
}

// A runner that dies between the job's last write and its clearing up leaves
// nothing for ever: its message comes again.
func TestDiesBeforeClearingUp(t *testing.T) {
	for _, end := range []struct {
		name string
		how  func(f *fixture, id events.JobID)
		want int // outputs that stay
	}{
		{"Succeeded", func(*fixture, events.JobID) {}, 1},
		{"Canceled", func(f *fixture, id events.JobID) { _, err := f.store.Cancel(f.Context(), id); f.must(err) }, 0},
	} {
		t.Run(end.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				j := f.job(training)
				var dead atomic.Bool
				l := f.loop(func(ctx context.Context, t *worker.Task) error {
					if err := errors.Join(save(t, "half"), put("x")(ctx, t)); err != nil {
						return err
					}
					end.how(f, j.ID)
					return nil
				})
				l.Queue = infra.TrainingQueue
				l.Ports, _ = faulty.Wrap(f.ports, faulty.Plan{FailBefore: 1, Only: func(op string) bool {
					if op == "blobs.Delete" || op == "blobs.List" || op == "queue.Ack" {
						dead.Store(true)
					}
					return dead.Load()
				}})
				stop := f.run(l)
				time.Sleep(5 * time.Second)
				stop()
				if !dead.Load() || !f.load(j.ID).Status.Terminal() || len(f.blobs("checkpoints/")) != 1 {
					t.Fatalf("the job was to end and leave something: %+v", f.load(j.ID))
				}
				l = f.loop(nil)
				l.Queue = infra.TrainingQueue
				stop = f.run(l)
				time.Sleep(time.Minute)
				stop()
				if left := f.blobs("checkpoints/"); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				if left := f.blobs("outputs/"); len(left) != end.want {
					t.Errorf("%q, want %d", left, end.want)
				}
				if d := f.depth(infra.TrainingQueue); d != (infra.Depth{}) {
					t.Errorf("the queue holds %+v", d)
				}
			})
		})
	}
}

// What a runner that was killed has left on the machine goes a day later.
func TestScratchOfTheDead(t *testing.T) {
	bubble(t, func(f *fixture) {
		real := time.Date(1999, 12, 30, 12, 0, 0, 0, time.UTC) // a bubble begins in 2000
		for name, age := range map[string]time.Time{"job-old": real, "job-new": real.Add(24 * time.Hour), "other": real} {
			f.must(os.MkdirAll(filepath.Join(f.scratch, name, "checkpoint"), 0o700))
			f.must(os.Chtimes(filepath.Join(f.scratch, name), age, age))
		}
		f.run(f.loop(put("x")))()
		left, err := os.ReadDir(f.scratch)
		f.must(err)
		if len(left) != 2 || left[0].Name() != "job-new" || left[1].Name() != "other" {
			t.Errorf("left: %v", left)
		}
	})
}
