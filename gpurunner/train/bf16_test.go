package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestBF16Replay: with products of bf16, every loss of the replayed trainings
// stays within 2 % of the original's.
func TestBF16Replay(t *testing.T) {
	const limit = 0.02
	enginetest.EachBF16(t, true, func(t *testing.T, name string) {
		for _, root := range paritytest.Roots(t) {
			for _, c := range root.Cases(t, "train") { // no Done: losses alone are compared
				t.Run(root.Name+"/"+c.Name(), func(t *testing.T) {
					pool := tensor.NewPool(enginetest.BF16(t, name, 0))
					m, err := diffusion.Open(pool, enginetest.Base(t, c.Root.Path("models/sd15-tiny")))
					if err != nil {
						t.Fatal(err)
					}
					defer m.Release()
					o := Advanced()
					for name, v := range c.Meta["params"].(map[string]any) {
						if name == "perform_inversion" {
							continue // always
						}
						if err := o.Set(name, v); err != nil {
							t.Fatal(err)
						}
					}
					o.LoRADropoutP = 0 // the recorded parameters leave out what has this default
					f := readRecord(t, c, m, o)
					defer f.release()
					worst, losses := 0.0, 0
					stepped := func(r *run, loss float64) {
						i, _ := f.at(r.phase, r.done-1)
						want := c.Numbers(t, "steps", strconv.Itoa(i), "loss")[0]
						worst = max(worst, math.Abs(loss-want)/want)
						losses++
					}
					job := Job{Model: m, Layers: layersOf(m), Options: o, Compat: true, feed: f, watch: watch{stepped: stepped}}
					if _, err := Run(context.Background(), job); err != nil {
						t.Fatal(err)
					}
					if !(worst <= limit) || worst == 0 || losses == 0 {
						t.Errorf("%d losses, off by up to %.3g, at most %g (and not nothing)", losses, worst, limit)
					} else {
						t.Logf("%d losses, off by up to %.3g", losses, worst)
					}
				})
			}
		}
	})
}

// TestBF16SameBytes: the same file on one and two threads, and after a stop in the
// middle of each phase.
func TestBF16SameBytes(t *testing.T) {
	enginetest.EachBF16(t, true, func(t *testing.T, name string) {
		var want []byte
		for _, threads := range []int{1, 2} {
			x := newTinyOn(t, "sd15-tiny", cpu.Options{Threads: threads, Poison: true, Precision: device.BF16, BF16: name})
			got := everythingBytes(t, x.run(x.everything("")))
			if want == nil {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Errorf("%d threads give another file than one", threads)
			}
			if threads == 1 {
				continue
			}
			for _, stop := range []int{2, 7} {
				job := x.everything(filepath.Join(t.TempDir(), "c"))
				ctx, cancel := context.WithCancel(context.Background())
				job.Progress = func(p Progress) {
					if p.Done == stop {
						cancel()
					}
				}
				_, err := Run(ctx, job)
				cancel()
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, want the context's error", err)
				}
				job.Progress, job.Resume = nil, true
				if got := everythingBytes(t, x.run(job)); !bytes.Equal(got, want) {
					t.Errorf("stopped after step %d, another result than of an unbroken run", stop)
				}
			}
		}
		x := newTiny(t, "sd15-tiny")
		refusesPrecision(t, x, newTinyOn(t, "sd15-tiny", cpu.Options{Poison: true, Precision: device.BF16, BF16: name}))
		if bytes.Equal(everythingBytes(t, x.run(x.everything(""))), want) {
			t.Error("the result is that of float32")
		}
	})
}

// refusesPrecision holds that neither of two runs that differ in precision alone
// goes on from the other's checkpoint: the file would be neither's.
func refusesPrecision(t *testing.T, a, b *tiny) {
	t.Helper()
	for _, x := range [][2]*tiny{{a, b}, {b, a}} {
		job := x[0].everything(filepath.Join(t.TempDir(), "c"))
		job.CheckpointEvery = 3
		x[0].run(job)
		job = x[1].everything(job.Checkpoint)
		job.Resume = true
		var c *CheckpointError
		if _, err := Run(context.Background(), job); !errors.As(err, &c) || !strings.Contains(err.Error(), "was made with the precision") {
			t.Errorf("got %v, want a *CheckpointError", err)
		}
	}
}
