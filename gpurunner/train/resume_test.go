package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// everything is a job in which every kind of state and random number counts.
func (x *tiny) everything(path string) Job {
	o := x.options()
	o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.GradientAccumulationSteps, o.TrainBatchSize = 5, 5, 3, 2
	o.LoRADropoutP, o.NoiseOffset, o.ContinueInversion, o.CachedLatents = 0.2, 0.1, true, true
	o.LRScheduler, o.LRSchedulerLoRA, o.LoRATargets = "cosine", "linear", TargetsExtended
	o.ValidationImages, o.ValidationEvery = 1, 2
	job := x.job(o)
	job.Checkpoint = path
	return job
}

func everythingBytes(t *testing.T, r *Result) []byte {
	t.Helper()
	var csv bytes.Buffer
	if err := r.Curve.CSV(&csv); err != nil {
		t.Fatal(err)
	}
	return append(file(t, r), csv.Bytes()...)
}

// TestResume: a run that is stopped at any step, some of them in the middle of
// it, goes on to the bytes of one that was not.
func TestResume(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	want := everythingBytes(t, x.run(x.everything("")))
	for stop := 1; stop <= 10; stop++ {
		for _, within := range []bool{false, true} {
			t.Run(fmt.Sprintf("Stop%d_within=%v", stop, within), func(t *testing.T) {
				job := x.everything(filepath.Join(t.TempDir(), "c"))
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				job.Progress = func(p Progress) {
					if p.Done == stop && !within {
						cancel()
					}
				}
				if within {
					job.watch.stepped = func(r *run, _ float64) {
						if r.phase == Tuning && r.steps(Inversion)+r.done == stop || r.phase == Inversion && r.done == stop {
							r.feed = stopping{r.feed, cancel}
						}
					}
				}
				_, err := Run(ctx, job)
				if stop == 10 && err == nil {
					return // it was done
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, want the context's error", err)
				}
				job.Progress, job.watch.stepped, job.Resume = nil, nil, true
				first := 0
				job.Progress = func(p Progress) {
					if first == 0 {
						first = p.Done
					}
				}
				if got := everythingBytes(t, x.run(job)); !bytes.Equal(got, want) {
					t.Error("the result differs from that of an unbroken run")
				}
				if first <= min(stop, 9) && stop > 1 && !(within && first == stop) {
					t.Errorf("stopped after step %d, went on with step %d", stop, first)
				}
			})
		}
	}
}

// stopping ends the context in the middle of the next step.
type stopping struct {
	feeder
	cancel func()
}

func (s stopping) batch(ctx context.Context, p Phase, step int) (*Batch, error) {
	b, err := s.feeder.batch(ctx, p, step)
	s.cancel()
	return b, err
}

func TestCheckpointEvery(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	job := x.everything(filepath.Join(t.TempDir(), "c"))
	job.CheckpointEvery = 2
	saved := 0
	job.Saved = func(path string) error {
		if path != job.Checkpoint {
			t.Errorf("saved %s", path)
		}
		saved++
		return nil
	}
	x.run(job)
	if saved != 4 {
		t.Errorf("%d checkpoints, want 2 a phase", saved)
	}
	job.Saved = func(string) error { return errors.New("no room") }
	if _, err := Run(context.Background(), job); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
}

// TestForeignCheckpoint: what another job left is refused, in one sentence.
func TestForeignCheckpoint(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	path := filepath.Join(t.TempDir(), "c")
	job := x.everything(path)
	job.CheckpointEvery = 3
	x.run(job)
	job.Resume = true
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name, want string, change func(j *Job)) {
		t.Run("Err"+name, func(t *testing.T) {
			j := job
			change(&j)
			_, err := Run(context.Background(), j)
			var c *CheckpointError
			if !errors.As(err, &c) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	refused("Options", "made with other options", func(j *Job) { j.Options.LearningRateUNet *= 2 })
	refused("Base", "made with another base model", func(j *Job) { j.BaseID = "other" })
	refused("Pictures", "other pictures or captions", func(j *Job) { j.Data = shapes(5, 32, false) })
	refused("Precision", "was made with the precision bf16, and this run has f32", func(*Job) {
		other := bytes.Replace(whole, []byte(`"precision":"f32"`), []byte(`"precision":"bf16"`), 1)
		size := binary.LittleEndian.Uint64(other) + uint64(len(other)-len(whole)) // of the header
		binary.LittleEndian.PutUint64(other, size)
		if err := os.WriteFile(path, other, 0o644); err != nil {
			t.Fatal(err)
		}
	})
	for n := 0; n < len(whole); n += max(1, len(whole)/7) {
		refused(fmt.Sprintf("Cut%d", n), "cannot be read", func(*Job) {
			if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
	// What a killed process left beside it is cleared away.
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(filepath.Dir(path), ".c.123.partial")
	if err := os.WriteFile(stale, whole[:100], 0o644); err != nil {
		t.Fatal(err)
	}
	x.run(job)
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", stale, err)
	}
	job.Compat = true
	if _, err := Run(context.Background(), job); err == nil {
		t.Error("compatibility mode took a checkpoint, which has no room for what it keeps")
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "c")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _ = readCheckpoint(path) // must not panic
	})
}
