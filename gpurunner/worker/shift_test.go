package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
)

// crew is a program that takes its time, and notes who runs beside whom.
type crew struct {
	mu      sync.Mutex
	running map[events.JobID]bool
	beside  map[events.JobID][]events.JobID // ran at the same time as
	order   []events.JobID                  // as they began
}

// run takes as many seconds as the job's seed.
func (c *crew) run(ctx context.Context, t *worker.Task) error {
	job := t.Job()
	c.mu.Lock()
	if c.running == nil {
		c.running, c.beside = map[events.JobID]bool{}, map[events.JobID][]events.JobID{}
	}
	for id := range c.running {
		c.beside[id], c.beside[job.ID] = append(c.beside[id], job.ID), append(c.beside[job.ID], id)
	}
	c.running[job.ID] = true
	c.order = append(c.order, job.ID)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, job.ID)
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Duration(job.Seed) * time.Second):
	}
	if strings.Contains(job.Base, "bad") {
		return errors.New("this one fails")
	}
	return t.Output(ctx, "out-0.png", "image/png", strings.NewReader("x"))
}

// likes is Together for tests: jobs of a base.
func likes(a, b events.Job) bool {
	first := func(j events.Job) string { return strings.TrimSuffix(j.Base, "-bad") }
	return first(a) == first(b) && first(a) != "loner"
}

func (f *fixture) together(c *crew) *worker.Loop {
	l := f.loop(c.run)
	l.Together, l.Most = likes, 3
	return l
}

// of makes a job of a base that takes so long.
func of(base string, seconds int64) func(*events.Job) {
	return func(j *events.Job) { j.Base, j.Seed = base, seconds }
}

func TestTogether(t *testing.T) {
	type job struct {
		base    string
		seconds int64
		after   time.Duration // it is sent
	}
	for _, c := range []struct {
		name   string
		jobs   []job
		beside [][]int // who ran beside whom
		most   time.Duration
	}{
		{"One", []job{{"a", 10, 0}}, [][]int{nil}, 12 * time.Second},
		{"All", []job{{"a", 10, 0}, {"a", 10, 0}, {"a", 10, 0}}, [][]int{{1, 2}, {0, 2}, {0, 1}}, 13 * time.Second},
		{"Most", []job{{"a", 10, 0}, {"a", 9, 0}, {"a", 20, 0}, {"a", 5, 0}}, [][]int{{1, 2, 3}, {0, 2}, {0, 1, 3}, {0, 2}}, 23 * time.Second},
		{"Joins", []job{{"a", 30, 0}, {"a", 5, 10 * time.Second}}, [][]int{{1}, {0}}, 32 * time.Second},
		{"Others", []job{{"a", 10, 0}, {"b", 10, 0}, {"b", 10, 0}}, [][]int{nil, {2}, {1}}, 23 * time.Second},
		{"InTurn", []job{{"a", 60, 0}, {"b", 10, 0}, {"a", 10, 0}}, [][]int{nil, nil, nil}, 83 * time.Second},
		{"Loner", []job{{"loner", 10, 0}, {"loner", 10, 0}}, [][]int{nil, nil}, 23 * time.Second},
		{"Fails", []job{{"a", 10, 0}, {"a-bad", 5, 0}, {"a", 10, 0}}, [][]int{{1, 2}, {0, 2}, {0, 1}}, 13 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(f *fixture) {
				var crew crew
				begun := time.Now()
				defer f.run(f.together(&crew))()
				var ids []events.JobID
				for _, j := range c.jobs {
					time.Sleep(time.Until(begun.Add(j.after)))
					ids = append(ids, f.job(of(j.base, j.seconds)).ID)
				}
				for i, id := range ids {
					want := events.Succeeded
					if strings.Contains(c.jobs[i].base, "bad") {
						want = events.Failed
					}
					if j := f.wait(id); j.Status != want {
						t.Errorf("job %d: %s %q, want %s", i, j.Status, j.Error, want)
					}
				}
				if took := time.Since(begun); took > c.most {
					t.Errorf("took %v, want at most %v", took, c.most)
				}
				for i, id := range ids {
					var beside []int
					for _, o := range crew.beside[id] {
						beside = append(beside, slices.Index(ids, o))
					}
					slices.Sort(beside)
					if !slices.Equal(beside, c.beside[i]) {
						t.Errorf("job %d ran beside %v, want %v", i, beside, c.beside[i])
					}
					if n := len(slices.DeleteFunc(slices.Clone(crew.order), func(o events.JobID) bool { return o != id })); n != 1 {
						t.Errorf("job %d ran %d times", i, n)
					}
				}
				time.Sleep(time.Second)
				if d := f.depth(infra.PredictionQueue); d != (infra.Depth{}) {
					t.Errorf("the queue holds %+v", d)
				}
				f.noScratch()
			})
		})
	}
}

// What the first job finds out lets others in.
func TestTogetherLater(t *testing.T) {
	bubble(t, func(f *fixture) {
		var crew crew
		l := f.together(&crew)
		begun := time.Now()
		l.Together = func(a, b events.Job) bool { return time.Since(begun) > 5*time.Second }
		defer f.run(l)()
		first := f.job(of("a", 20))
		time.Sleep(10 * time.Second)
		second := f.job(of("a", 5))
		f.wait(first.ID)
		if f.wait(second.ID); len(crew.beside[first.ID]) != 1 {
			t.Error("the second waited for the first")
		}
	})
}

// One that is canceled ends; those beside it go on.
func TestTogetherCancel(t *testing.T) {
	bubble(t, func(f *fixture) {
		var crew crew
		defer f.run(f.together(&crew))()
		a, b, c := f.job(of("a", 20)), f.job(of("a", 20)), f.job(of("a", 20))
		time.Sleep(5 * time.Second)
		_, err := f.store.Cancel(f.Context(), b.ID)
		f.must(err)
		begun := time.Now()
		d := f.job(of("a", 5)) // has its place
		if f.wait(d.ID).Status != events.Succeeded || time.Since(begun) > 8*time.Second {
			t.Errorf("the place of the canceled one was free after %v", time.Since(begun))
		}
		for id, want := range map[events.JobID]events.Status{a.ID: events.Succeeded, b.ID: events.Canceled, c.ID: events.Succeeded} {
			if j := f.wait(id); j.Status != want {
				t.Errorf("%s %q, want %s", j.Status, j.Error, want)
			}
		}
	})
}

// A stop hands back all that run, and what waits in the loop without having begun:
// another runner has them at once, and none of it counts as a crash.
func TestTogetherStops(t *testing.T) {
	bubble(t, func(f *fixture) {
		var first, second crew
		stop := f.run(f.together(&first))
		ids := []events.JobID{f.job(of("a", 1200)).ID, f.job(of("a", 1200)).ID, f.job(of("b", 10)).ID}
		time.Sleep(5 * time.Minute) // far longer than the waiting message's lease
		if d := f.depth(infra.PredictionQueue); d.Leased != 3 {
			t.Errorf("the queue is %+v, want all three leased", d)
		}
		stop()
		if len(first.order) != 2 {
			t.Errorf("%d jobs have begun", len(first.order))
		}
		begun := time.Now()
		defer f.run(f.together(&second))()
		f.wait(ids[2])
		for time.Since(begun) < 2*time.Hour && len(second.order) < 3 {
			time.Sleep(time.Second)
		}
		for i, id := range ids {
			if j := f.wait(id); j.Status != events.Succeeded || j.Crashes > 0 {
				t.Errorf("job %d: %s after %d crashes", i, j.Status, j.Crashes)
			}
		}
	})
}

// A job that took down a runner runs alone, so that it takes no other with it again.
func TestTogetherTroubled(t *testing.T) {
	bubble(t, func(f *fixture) {
		var crew crew
		bad := f.job(of("a", 30))
		// A runner takes its message and begins it, and is heard of no more.
		m, err := f.ports.Queues.Queue(infra.PredictionQueue).Receive(f.Context(), 1, 0, 45*time.Second)
		f.must(err)
		if len(m) != 1 {
			t.Fatal("no message")
		}
		_, err = f.store.Start(f.Context(), bad.ID, 30*time.Second)
		f.must(err)
		time.Sleep(time.Minute)
		defer f.run(f.together(&crew))()
		other := f.job(of("a", 30))
		for _, id := range []events.JobID{bad.ID, other.ID} {
			if j := f.wait(id); j.Status != events.Succeeded {
				t.Errorf("%s %q", j.Status, j.Error)
			}
			if n := len(crew.beside[id]); n > 0 {
				t.Errorf("ran beside %d others", n)
			}
		}
	})
}

// A device that is gone ends the loop; the jobs beside are handed back.
func TestTogetherBroken(t *testing.T) {
	bubble(t, func(f *fixture) {
		var crew crew
		l := f.together(&crew)
		l.Programs[events.ProgramLora] = func(ctx context.Context, t *worker.Task) error {
			if t.Job().Seed == 5 {
				time.Sleep(5 * time.Second)
				return fmt.Errorf("%w: it fell off the bus", worker.ErrBroken)
			}
			return crew.run(ctx, t)
		}
		ids := []events.JobID{f.job(of("a", 60)).ID, f.job(of("a", 5)).ID}
		if err := l.Run(f.Context()); !errors.Is(err, worker.ErrBroken) {
			t.Errorf("the loop ended with %v", err)
		}
		for i, crashes := range []int{0, 1} {
			if j := f.load(ids[i]); j.Status.Terminal() || j.Lease != nil || j.Crashes != crashes {
				t.Errorf("job %d: %s, lease %v, %d crashes; want it back in the queue with %d", i, j.Status, j.Lease, j.Crashes, crashes)
			}
		}
		if d := f.depth(infra.PredictionQueue); d.Waiting != 2 {
			t.Errorf("the queue is %+v, want both waiting", d)
		}
	})
}
