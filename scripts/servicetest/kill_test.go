//go:build unix

package servicetest

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// The steps of the trainings that are interrupted: a checkpoint each 50 steps,
// and each phase has one.
const (
	inversion = 70
	tuning    = 130
)

// unbroken is the file that the training makes when nothing disturbs it. Made
// once: the same job gives the same bytes in any folder.
func unbroken(t *testing.T) []byte {
	t.Helper()
	whole.once.Do(func() {
		s := serve(t, t.TempDir(), "")
		p := s.succeeded(s.train(inversion, tuning).ID)
		if strings.Contains(p.Logs, "going on from a checkpoint") {
			t.Error("the undisturbed training was disturbed")
		}
		whole.file = s.file(p)
		s.stop()
	})
	if len(whole.file) == 0 {
		t.Fatal("the undisturbed training made nothing")
	}
	return whole.file
}

var whole struct {
	once sync.Once
	file []byte
}

// A service is killed in the middle of a training; started again on its folder it
// goes on, and the file has the bytes of a training that was not disturbed. The
// zip is uploaded, nothing else: see service.train.
func TestKill(t *testing.T) {
	needService(t)
	t.Parallel() // most of it waits for leases
	want := unbroken(t)
	check := func(t *testing.T, s *service, id events.JobID) {
		t.Helper()
		p := s.succeeded(id)
		if got := s.file(p); !bytes.Equal(got, want) {
			t.Errorf("%d bytes, and not those of the undisturbed training", len(got))
		}
		if !strings.Contains(p.Logs, "going on from a checkpoint") {
			t.Errorf("did not go on from a checkpoint:\n%s", p.Logs)
		}
		if strings.Count(p.Logs, "Using seed: 7") < 2 {
			t.Errorf("the log of before is lost:\n%s", p.Logs)
		}
	}

	// The runner sees its service go, saves, hands the job back and ends.
	t.Run("Serve", func(t *testing.T) {
		t.Parallel()
		s := serve(t, t.TempDir(), "")
		id := s.train(inversion, tuning).ID
		s.atStep(id, 20, tuning)
		left := s.runners()
		s.kill()
		s.gone(left, 30*time.Second)
		s = serve(t, s.dir, s.token)
		check(t, s, id)
		s.stop()
	})
	// As when the power goes: nobody can say or save anything.
	t.Run("All", func(t *testing.T) {
		t.Parallel()
		s := serve(t, t.TempDir(), "")
		id := s.train(inversion, tuning).ID
		s.atStep(id, 20, tuning)
		left := s.runners()
		for pid := range left {
			kill9(t, pid)
		}
		s.kill()
		s.gone(left, 30*time.Second)
		s = serve(t, s.dir, s.token)
		check(t, s, id)
		s.stop()
	})
	// The service starts another runner, and stays reachable meanwhile.
	t.Run("Runner", func(t *testing.T) {
		t.Parallel()
		s := serve(t, t.TempDir(), "")
		id := s.train(inversion, tuning).ID
		s.atStep(id, 60, inversion)
		first := s.runner(infra.TrainingQueue)
		kill9(t, first)
		killed := time.Now()
		s.until(id, "gone on with", func(p events.Prediction) bool { return strings.Contains(p.Logs, "going on from a checkpoint") })
		if d := time.Since(killed); d > soon {
			t.Errorf("the training went on after %v", d)
		}
		p := s.succeeded(s.draw(map[string]any{"prompt": "a cat", "seed": 1}).ID)
		if now := s.get(id); now.Status != events.Processing {
			t.Errorf("when %s was drawn the training was %s", p.ID, now.Status)
		}
		if second := s.runner(infra.TrainingQueue); second == first {
			t.Error("no other runner was started")
		}
		check(t, s, id)
		s.stop()
	})
	// SIGTERM: a checkpoint at the very step, whatever it is.
	t.Run("Stop", func(t *testing.T) {
		t.Parallel()
		s := serve(t, t.TempDir(), "")
		id := s.train(inversion, tuning).ID
		s.atStep(id, 5, inversion) // before the first checkpoint of its own
		begun := time.Now()
		s.stop()
		if d := time.Since(begun); d > 30*time.Second { // the promise to whoever runs it
			t.Errorf("stopping took %v", d)
		}
		s = serve(t, s.dir, s.token)
		check(t, s, id)
		s.stop()
	})
}

// soon is within what a job goes on whose runner was killed: shorter than the job's
// lease, and long for a process that starts on a machine with other work.
const soon = 20 * time.Second

// A drawing whose runner is killed is drawn by the next one, which serve starts,
// without waiting for leases, and so is one that the runner had not begun.
func TestKillDrawing(t *testing.T) {
	needService(t)
	t.Parallel()
	s := serve(t, t.TempDir(), "")
	id := s.draw(map[string]any{"prompt": "a cat", "seed": 1, "num_inference_steps": 200, "num_outputs": 4}).ID
	s.until(id, "begun", func(p events.Prediction) bool { return strings.Contains(p.Logs, "Using seed: 1") })
	next := s.draw(map[string]any{"prompt": "a dog", "seed": 2, "width": 128, "num_inference_steps": 1}).ID // not together with it
	time.Sleep(time.Second)                                                                                 // for its message to be with the runner
	kill9(t, s.runner(infra.PredictionQueue))
	killed := time.Now()
	s.until(id, "begun again", func(p events.Prediction) bool { return strings.Count(p.Logs, "Using seed: 1") == 2 })
	d := time.Since(killed)
	t.Logf("begun again after %v", d)
	if d > soon {
		t.Errorf("the drawing was begun again after %v", d)
	}
	s.succeeded(id)
	drawn := time.Now()
	s.succeeded(next)
	if d := time.Since(drawn); d > soon {
		t.Errorf("the drawing that waited came %v after the first", d)
	}
	s.stop()
}

// A job that kills its runner each time is given up after the third, with a
// reason, and the service goes on.
func TestKillThrice(t *testing.T) {
	needService(t)
	t.Parallel()
	s := serve(t, t.TempDir(), "")
	id := s.train(300, 0).ID
	var killed []int
	for len(killed) < events.MaxCrashes {
		s.until(id, "begun again", func(p events.Prediction) bool {
			return strings.Count(p.Logs, "Using seed: 7") > len(killed)
		})
		pid := s.runner(infra.TrainingQueue)
		if slices.Contains(killed, pid) {
			continue
		}
		kill9(t, pid)
		killed = append(killed, pid)
		t.Logf("killed %d", pid)
	}
	var p events.Prediction
	for p = s.get(id); !p.Status.Terminal(); p = s.get(id) {
		time.Sleep(100 * time.Millisecond)
	}
	if p.Status != events.Failed || !strings.Contains(deref(p.Error), "stopped its runner 3 times") {
		t.Errorf("%s %q", p.Status, deref(p.Error))
	}
	s.succeeded(s.draw(map[string]any{"prompt": "a cat", "seed": 1}).ID)
	s.stop()
}

// While a training runs, predictions begin at once.
func TestDrawingStaysQuick(t *testing.T) {
	needService(t)
	s := serve(t, t.TempDir(), "")
	id := s.train(300, 300).ID
	s.atStep(id, 3, 300)
	var waits []time.Duration
	for i := range 5 {
		p := s.succeeded(s.draw(map[string]any{"prompt": "a cat", "seed": i}).ID)
		waits = append(waits, p.StartedAt.Sub(p.CreatedAt.Time))
	}
	if now := s.get(id); now.Status != events.Processing {
		t.Errorf("the training is %s: it did not run all the time", now.Status)
	}
	t.Logf("from POST to the runner's start: %v", waits)
	slices.Sort(waits)
	if waits[len(waits)/2] > 2*time.Second { // a promise of the design, measured on its own clocks
		t.Errorf("predictions waited %v", waits)
	}
	// Cancel ends a training in the middle of a step.
	var p events.Prediction
	s.call("POST", "/v1/predictions/"+string(id)+"/cancel", nil, &p)
	if p.Status != events.Canceled {
		t.Errorf("canceled, it is %s", p.Status)
	}
	next := s.train(1, 1).ID
	done := s.succeeded(next)
	t.Logf("a training begun after it started after %v", done.StartedAt.Sub(done.CreatedAt.Time))
	s.stop()
}
