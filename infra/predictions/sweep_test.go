package predictions_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

func TestSweep(t *testing.T) {
	t.Run("Unsent", func(t *testing.T) {
		f := open(t, nil)
		j := f.job(func(j *events.Job) { j.WaitsFor = "x" }) // so that it is not queued
		_, err := f.Change(t.Context(), j.ID, func(j *events.Job) error { j.WaitsFor = ""; return nil })
		must(t, err)
		f.sweep()
		if n := f.messages(infra.PredictionQueue); n != 0 {
			t.Errorf("%d messages at once", n)
		}
		f.clock.advance(predictions.UnsentAfter)
		f.sweep()
		f.sweep()
		if n := f.messages(infra.PredictionQueue); n != 1 {
			t.Errorf("%d messages", n)
		}
	})
	t.Run("MessageDidNotComeBack", func(t *testing.T) {
		f := open(t, nil)
		j := f.job()
		f.messages(infra.PredictionQueue)
		f.start(j.ID)
		for range 10 {
			f.clock.advance(time.Minute)
			f.sweep()
		}
		if n := f.messages(infra.PredictionQueue); n == 0 {
			t.Error("the job is stranded")
		}
	})
	t.Run("UploadNeverCame", func(t *testing.T) {
		f := open(t, nil)
		j := f.job(func(j *events.Job) { j.Program = events.ProgramTraining; j.WaitsFor = "uploads/t/x.zip" })
		f.clock.advance(predictions.UploadDeadline - time.Second)
		f.sweep()
		if got := f.load(j.ID); got.Status != events.Starting {
			t.Errorf("before the hour: %s", got.Status)
		}
		f.clock.advance(2 * time.Second)
		f.sweep()
		if got := f.load(j.ID); got.Status != events.Failed || !strings.Contains(got.Error, "hour") {
			t.Errorf("got %s %q", got.Status, got.Error)
		}
	})
	t.Run("CancelAfter", func(t *testing.T) {
		f := open(t, nil)
		j := f.job(func(j *events.Job) { j.CancelAfter = events.At(f.clock.Now().Add(5 * time.Second)) })
		f.sweep()
		f.clock.advance(5 * time.Second)
		f.sweep()
		if got := f.load(j.ID); got.Status != events.Canceled {
			t.Errorf("got %s", got.Status)
		}
	})
	t.Run("HalfRemoved", func(t *testing.T) {
		f := open(t, nil)
		j := f.job()
		_, err := f.ports.Blobs.Put(t.Context(), j.OutputKey("out-0.png"), strings.NewReader("x"), infra.PutOptions{})
		must(t, err)
		_, err = f.Change(t.Context(), j.ID, func(j *events.Job) error { j.Deleted = true; return j.Cancel(f.clock.Now()) })
		must(t, err)
		f.clock.advance(time.Minute)
		f.sweep()
		if _, err := f.ports.Jobs.Get(t.Context(), string(j.ID)); !errors.Is(err, infra.ErrNotFound) {
			t.Errorf("the record stays: %v", err)
		}
		if _, err := f.ports.Blobs.Stat(t.Context(), j.OutputKey("out-0.png"), ""); !errors.Is(err, infra.ErrNotFound) {
			t.Errorf("the output stays: %v", err)
		}
	})
}

// TestDeadLetters holds that a job whose message died without a runner that began the job gets another
// message, fails when that goes on and on, and that one with a fresh message is left alone.
func TestDeadLetters(t *testing.T) {
	f := open(t, nil)
	q := f.ports.Queues.Queue(infra.PredictionQueue)
	die := func() {
		for range infra.MaxReceives(infra.PredictionQueue) + 1 {
			if _, err := q.Receive(t.Context(), 1, 0, 30*time.Second); err != nil {
				t.Fatal(err)
			}
			f.clock.advance(31 * time.Second)
		}
	}
	sweep := func() {
		for range 2 { // the second finds a fresh message
			must(t, f.DeadLetters(t.Context(), infra.PredictionQueue))
		}
	}
	j := f.job()
	for n := range 10 {
		die()
		sweep()
		if got := f.load(j.ID); got.Status != events.Starting || got.Resends != n+1 {
			t.Fatalf("after %d dead letters: %s, %d resends", n+1, got.Status, got.Resends)
		}
		if d, err := q.Depth(t.Context()); err != nil || d.Waiting != 1 {
			t.Fatalf("after %d dead letters: %+v waiting, %v", n+1, d, err)
		}
	}
	die()
	sweep()
	if got := f.load(j.ID); got.Status != events.Failed || !strings.Contains(got.Error, "could not be started") {
		t.Errorf("got %s %q", got.Status, got.Error)
	}
	letters, err := q.DeadLetters(t.Context(), 100)
	if err != nil || len(letters) != 11 {
		t.Errorf("the letters are not kept: %v, %v", letters, err)
	}
	k := f.job()
	die()
	f.clock.advance(5 * time.Minute)
	must(t, f.Enqueue(t.Context(), k.ID, k.Program)) // a fresh message is on its way
	sweep()
	if got := f.load(k.ID); got.Status != events.Starting || got.Resends != 0 {
		t.Errorf("got %s, %d resends", got.Status, got.Resends)
	}
}

func TestArrived(t *testing.T) {
	f := open(t, nil)
	waiting := func(j *events.Job) {
		j.Program, j.WaitsFor = events.ProgramTraining, "uploads/t/x.zip"
		j.Sources = []events.Source{{URL: "u", Key: "uploads/t/x.zip", Name: "x.zip"}}
	}
	j := f.job(waiting)
	if _, err := f.Start(t.Context(), j.ID, lease); !errors.Is(err, events.ErrWaiting) {
		t.Errorf("started before its upload: %v", err)
	}
	first := events.ObjectCreated{Key: "uploads/t/x.zip", Generation: "g1", Size: 1}
	second := first
	second.Generation = "g2"
	for _, o := range []events.ObjectCreated{first, first, second} { // twice, and then another PUT
		must(t, f.Arrived(t.Context(), o, ""))
	}
	if got := f.load(j.ID); got.WaitsFor != "" || got.Sources[0].Generation != "g1" {
		t.Errorf("got %+v", got)
	}
	if n := f.messages(infra.TrainingQueue); n != 1 {
		t.Errorf("%d messages", n)
	}
	k := f.job(waiting)
	must(t, f.Arrived(t.Context(), first, "That is no zip."))
	if got := f.load(k.ID); got.Status != events.Failed || got.Error != "That is no zip." {
		t.Errorf("got %s %q", got.Status, got.Error)
	}
}
