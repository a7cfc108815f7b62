package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// tiny is a base model of a few thousand weights to train in tests.
type tiny struct {
	t     *testing.T
	pool  *tensor.Pool
	base  *base.Base
	model *diffusion.Model
}

// newTiny loads one of the tiny models; memory that its tests do not give back
// fails them.
func newTiny(t *testing.T, model string) *tiny { return newTinyThreads(t, model, 0) }

func newTinyThreads(t *testing.T, model string, threads int) *tiny {
	return newTinyOn(t, model, cpu.Options{Threads: threads, Poison: true})
}

func newTinyOn(t *testing.T, model string, options cpu.Options) *tiny {
	t.Helper()
	dir := ""
	for _, r := range paritytest.Roots(t) {
		if dir == "" && r.Has("models/"+model+"/unet/config.json") {
			dir = r.Path("models/" + model)
		}
	}
	if dir == "" {
		if paritytest.Required("parity") {
			t.Fatalf("the model %s is missing, and LOWRANK_REQUIRE asks for parity", model)
		}
		t.Skipf("the model %s is in the full set of expected numbers only (LOWRANK_PARITY)", model)
	}
	dev, err := cpu.New(options)
	if err != nil {
		t.Fatal(err)
	}
	x := &tiny{t: t, pool: tensor.NewPool(dev), base: enginetest.Base(t, dir)}
	if x.model, err = diffusion.Open(x.pool, x.base); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.model.Release()
		if n := x.pool.Live(); n != 0 && !t.Failed() {
			t.Errorf("%d tensors were not given back", n)
		}
		dev.Close()
	})
	return x
}

// options are a short training without anything random in the adapters.
func (x *tiny) options() Options {
	o := Advanced()
	o.Resolution, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = 32, 4, 4
	o.GradientAccumulationSteps, o.LoRARank, o.LoRADropoutP = 2, 2, 0
	return o
}

// job trains on four pictures of plain shapes.
func (x *tiny) job(o Options) Job {
	return Job{Model: x.model, Layers: layersOf(x.model), BaseID: "tiny", Name: "test", Options: o, Data: shapes(4, o.Resolution, false)}
}

// run trains and fails the test where that fails.
func (x *tiny) run(job Job) *Result {
	x.t.Helper()
	r, err := Run(context.Background(), job)
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

// train runs a short training of these options.
func (x *tiny) train(change func(o *Options)) *Result {
	x.t.Helper()
	o := x.options()
	change(&o)
	return x.run(x.job(o))
}

// shapes are pictures of a disc each, with a mask of it if masked.
func shapes(n, side int, masked bool) *dataset.Set {
	s := &dataset.Set{}
	for i := range n {
		p := dataset.Picture{Name: string(rune('a'+i)) + ".png", Caption: "a disc number " + string(rune('1'+i)), Image: imageops.New(side, side), Original: dataset.Size{W: 2 * side, H: 3 * side}}
		if masked {
			p.Mask = make([]uint8, side*side)
		}
		for y := range side {
			for x := range side {
				at := y*side + x
				for c := range 3 {
					p.Image.Pix[3*at+c] = uint8(40*i + 10*c + 2*x)
				}
				if dx, dy := x-side/3-i, y-side/2; dx*dx+dy*dy < side*side/9 {
					p.Image.Pix[3*at+i%3] = 250
					if masked {
						p.Mask[at] = 255
					}
				}
			}
		}
		s.Pictures = append(s.Pictures, p)
	}
	return s
}

// file is a result as its file.
func file(t *testing.T, r *Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := lora.Write(&b, r.Set, lora.Cloneofsimo); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// norms are the norms of a part's down and up factors.
func norms(s *lora.Set, p lora.Part) (down, up float64) {
	for _, a := range s.Adapters {
		if a.Module.Part == p {
			for _, v := range a.Down {
				down += float64(v) * float64(v)
			}
			for _, v := range a.Up {
				up += float64(v) * float64(v)
			}
		}
	}
	return math.Sqrt(down), math.Sqrt(up)
}

func norm(v []float32) float64 {
	n, _ := normSum(v)
	return n
}

// row is the embedding of token i for the first text encoder.
func row(r *Result, i int) []float32 { return r.Set.Tokens[i].Rows[0][0] }

// TestEveryBase trains each kind of base model: both phases change what they
// should, the file can be read again, and nothing stays behind on the device.
func TestEveryBase(t *testing.T) {
	for _, model := range []string{"sd15-tiny", "sd21-tiny", "sd15-inpaint-tiny", "sdxl-tiny"} {
		t.Run(model, func(t *testing.T) {
			x := newTiny(t, model)
			o := x.options()
			o.TrainBatchSize = 2
			start := x.train(func(o *Options) { o.MaxTrainStepsTI, o.MaxTrainStepsTuning = 0, 1 })
			r := x.run(x.job(o))
			if len(r.Curve) != 8 {
				t.Errorf("%d points in the curve, want 8", len(r.Curve))
			}
			for i, tok := range r.Set.Tokens {
				if len(tok.Rows) != len(x.model.Text) {
					t.Errorf("%s has rows for %d text encoders, want %d", tok.Name, len(tok.Rows), len(x.model.Text))
				}
				for e := range tok.Rows {
					if before := norm(start.Set.Tokens[i].Rows[e][0]); math.Abs(norm(tok.Rows[e][0])-before) < 1e-3 {
						t.Errorf("the inversion left %s of text encoder %d as it was", tok.Name, e)
					}
				}
			}
			for _, p := range []lora.Part{lora.UNet, lora.TextEncoder} {
				if _, up := norms(r.Set, p); up == 0 {
					t.Errorf("the tuning left %s as it was", p)
				}
			}
			path := filepath.Join(t.TempDir(), "out.safetensors")
			if err := lora.WriteFile(path, r.Set, lora.Cloneofsimo); err != nil {
				t.Fatal(err)
			}
			if _, err := lora.Open(path, layersOf(x.model)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSameBytes: the same job gives the same file with any number of threads.
func TestSameBytes(t *testing.T) {
	var want []byte
	for _, threads := range []int{1, 2, 4} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
		x := newTinyThreads(t, "sd15-tiny", threads)
		o := x.options()
		o.TrainBatchSize, o.LoRADropoutP, o.NoiseOffset, o.ValidationImages, o.ValidationEvery = 2, 0.1, 0.1, 1, 2
		r := x.run(x.job(o))
		got := append(file(t, r), r.Curve.bytes()...)
		if want == nil {
			want = got
		} else if !bytes.Equal(got, want) {
			t.Errorf("%d threads give another file than one", threads)
		}
	}
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	a := file(t, x.run(x.job(o)))
	o.Seed++
	if bytes.Equal(a, file(t, x.run(x.job(o)))) {
		t.Error("another seed gives the same file")
	}
}

// TestDiverged: a loss that is no number ends the training with the step and
// advice, and the checkpoint from before it stays as it is.
func TestDiverged(t *testing.T) {
	for _, tt := range []struct {
		phase Phase
		want  string
	}{
		{Inversion, "learning_rate_ti (a tenth), and a warm-up (lr_scheduler constant_with_warmup with lr_warmup_steps)"},
		{Tuning, "learning_rate_unet and learning_rate_text (a tenth), and a warm-up (lr_scheduler_lora constant_with_warmup with lr_warmup_steps_lora)"},
	} {
		t.Run(tt.phase.String(), func(t *testing.T) {
			x := newTiny(t, "sd15-tiny")
			o := x.options()
			if tt.phase == Tuning {
				o.MaxTrainStepsTI = 0
			}
			job := x.job(o)
			job.Checkpoint, job.CheckpointEvery = filepath.Join(t.TempDir(), "c"), 1
			job.watch.stepped = func(r *run, _ float64) {
				if r.done == 2 {
					r.feed = poisoned{r.feed, x.pool}
				}
			}
			_, err := Run(context.Background(), job)
			var diverged *DivergedError
			if !errors.As(err, &diverged) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "NaN at step 3 of the "+tt.phase.String()) {
				t.Fatalf("got %v, want the step and %s", err, tt.want)
			}
			c, err := readCheckpoint(job.Checkpoint)
			if err != nil || c.done != 2 {
				t.Errorf("the checkpoint is of step %d, want 2 (%v)", c.done, err)
			}
		})
	}
}

// poisoned makes latents that are no numbers.
type poisoned struct {
	feeder
	pool *tensor.Pool
}

func (p poisoned) batch(ctx context.Context, ph Phase, step int) (*Batch, error) {
	b, err := p.feeder.batch(ctx, ph, step)
	if err == nil {
		p.pool.Device.Fill(b.Latents.Data, float32(math.NaN()))
	}
	return b, err
}
