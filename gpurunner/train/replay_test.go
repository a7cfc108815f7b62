package train

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestReplay runs the trainer in compatibility mode on what the original
// trainer drew, and holds every loss, rate, norm, row and matrix to what it made
// of that.
func TestReplay(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "train", func(t *testing.T, c *paritytest.Case) { replay(t, pool, c) })
	})
}

func replay(t *testing.T, pool *tensor.Pool, c *paritytest.Case) {
	m, err := diffusion.Open(pool, enginetest.Base(t, c.Root.Path("models/sd15-tiny")))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	o := Advanced()
	for name, v := range c.Meta["params"].(map[string]any) {
		switch name {
		case "perform_inversion": // always
		default:
			if err := o.Set(name, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.LoRADropoutP = 0 // the recorded parameters leave out what has this default
	f := newRecorded(t, c, m, o)
	defer f.release()
	w := &replayWatch{t: t, c: c, m: m, f: f, drift: map[string]*drift{}}
	job := Job{Model: m, Layers: layersOf(m), Options: o, Compat: true, feed: f, watch: watch{gradients: w.gradients, stepped: w.stepped}}
	result, err := Run(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	w.finish(result)
}

func layersOf(m *diffusion.Model) *lora.Base {
	var encoders []clip.Config
	for _, e := range m.Text {
		encoders = append(encoders, e.Config)
	}
	return lora.NewBase("test", m.UNetConfig(), encoders...)
}

// recorded feeds what a run of the original drew.
type recorded struct {
	t     *testing.T
	c     *paritytest.Case
	m     *diffusion.Model
	o     Options
	steps []map[string]any
}

func newRecorded(t *testing.T, c *paritytest.Case, m *diffusion.Model, o Options) *recorded {
	f := readRecord(t, c, m, o)
	f.cached()
	return f
}

// readRecord is newRecorded without a look at the latents.
func readRecord(t *testing.T, c *paritytest.Case, m *diffusion.Model, o Options) *recorded {
	f := &recorded{t: t, c: c, m: m, o: o}
	for _, s := range c.Meta["steps"].([]any) {
		f.steps = append(f.steps, s.(map[string]any))
	}
	f.captions()
	return f
}

func (f *recorded) release() {}

// at finds a step's place in the record.
func (f *recorded) at(p Phase, step int) (index int, s map[string]any) {
	for i, s := range f.steps {
		if s["phase"] == p.String() && int(s["step"].(float64)) == step {
			return i, s
		}
	}
	f.t.Fatalf("%s: the record has no step %d", p, step)
	return 0, nil
}

// captions checks what the original said of its pictures: its sentences are
// ours, and so are their ids.
func (f *recorded) captions() {
	names, _, err := f.o.tokens()
	if err != nil {
		f.t.Fatal(err)
	}
	concept := strings.Join(names, "")
	tok := f.m.Text[0].Tokenizer.Clone()
	for _, n := range names {
		if _, err := tok.AddToken(n); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, item := range f.c.Meta["items"].([]any) {
		item := item.(map[string]any)
		caption := item["caption"].(string)
		if !slices.ContainsFunc(dataset.Template(f.o.UseTemplate).Sentences(), func(s string) bool { return dataset.Fill(s, concept) == caption }) {
			f.t.Errorf("the original's caption %q is none of ours", caption)
		}
		ids := item["ids"].([]any)
		got := tok.Encode(caption)
		if len(got) != len(ids) {
			f.t.Fatalf("%q: got ids %v, want %v", caption, got, ids)
		}
		for i, id := range ids {
			if got[i] != int(id.(float64)) {
				f.t.Fatalf("%q: got ids %v, want %v", caption, got, ids)
			}
		}
	}
}

func (f *recorded) floats(name string) []float32 { return f.c.Tensor(f.t, name).NHWC().F32 }

// picture is the pixels of an item.
func (f *recorded) picture(item int) *imageops.Picture {
	x := f.c.Tensor(f.t, fmt.Sprintf("item.%d.pixels", item)).HWC()
	return &imageops.Picture{Width: x.Shape[1], Height: x.Shape[0], Pix: x.U8}
}

// cached compares the latents that a run with cached_latents began with.
func (f *recorded) cached() {
	for i := 0; f.c.Has(fmt.Sprintf("cache.%d.latents", i)); i++ {
		latents := f.encode([]*imageops.Picture{f.picture(i)}, fmt.Sprintf("cache.%d.posterior_noise", i))
		// Stored [C,H,W].
		v, c := latents.Float32(), latents.Dim(3)
		planes := make([]float32, len(v))
		for j := range v {
			planes[j%c*(len(v)/c)+j/c] = v[j]
		}
		f.c.Compare(f.t, fmt.Sprintf("cache.%d.latents", i), planes)
		latents.Release()
	}
}

// encode makes latents of pictures and recorded noise.
func (f *recorded) encode(pictures []*imageops.Picture, noiseName string) (latents *tensor.Tensor) {
	e, err := f.m.Encoder()
	if err != nil {
		f.t.Fatal(err)
	}
	err = autodiff.Run(context.Background(), f.m.Pool, func(p *autodiff.Pass) error {
		moments, err := (&feed{model: f.m, encoder: e}).encode(p, pictures)
		if err != nil {
			return err
		}
		defer moments.Release()
		x := f.c.Tensor(f.t, noiseName).NHWC()
		noise := f.m.Pool.FromFloat32(x.F32, append([]int{len(pictures)}, x.Shape[len(x.Shape)-3:]...)...)
		defer noise.Release()
		latents = f.m.Sample(p, moments, noise)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return latents
}

func (f *recorded) batch(_ context.Context, p Phase, step int) (*Batch, error) {
	_, s := f.at(p, step)
	tag := fmt.Sprintf("%s.%d", p, step)
	noise := f.c.Tensor(f.t, tag+".noise").NHWC()
	n := noise.Shape[0]
	b := &Batch{Noise: f.m.Pool.FromFloat32(noise.F32, noise.Shape...)}
	for _, v := range f.c.Tensor(f.t, tag+".timesteps").I64 {
		b.Timesteps = append(b.Timesteps, int(v))
	}
	ids := f.c.Tensor(f.t, tag+".input_ids")
	var prompts clip.Prompts
	for i := range n {
		row := make([]int32, ids.Shape[1])
		for j := range row {
			row[j] = int32(ids.I64[i*len(row)+j])
		}
		prompts = append(prompts, row)
	}
	b.Tokens = diffusion.Tokens{prompts}
	last := int(s["item"].(float64))
	var pictures []*imageops.Picture
	var masks [][]uint8
	for i := last - n + 1; i <= last; i++ {
		if !f.o.CachedLatents {
			pictures = append(pictures, f.picture(i))
		}
		if s["has_mask"].(bool) {
			masks = append(masks, f.c.Tensor(f.t, fmt.Sprintf("item.%d.mask", i)).U8)
		}
	}
	if f.o.CachedLatents {
		x := f.c.Tensor(f.t, tag+".latents").NHWC()
		b.Latents = f.m.Pool.FromFloat32(x.F32, x.Shape...)
	} else {
		b.Latents = f.encode(pictures, tag+".posterior_noise")
	}
	if masks != nil {
		factor := f.m.VAEConfig().Factor()
		h, w := noise.Shape[1], noise.Shape[2]
		b.Mask = f.m.Pool.FromFloat32(latentMasks(masks, w*factor, h*factor, factor, s["mask_temperature"].(float64), false), n, h, w)
	}
	return b, nil
}

// rows and down give what the original's run began with.
func (f *recorded) rows() []float32 { return f.floats("init.placeholder_rows") }

func (f *recorded) down(m *lora.Module, down []float32) {
	copy(down, f.floats("tuning.init."+m.String()+".down"))
}

// replayWatch compares a replay as it goes.
type replayWatch struct {
	t *testing.T
	c *paritytest.Case
	m *diffusion.Model
	f *recorded

	drift  map[string]*drift // of a parameter
	before []float32         // the rows before their last update, nil once it is past
}

func (w *replayWatch) step(r *run, key string) []string {
	i, s := w.f.at(r.phase, r.done)
	if _, ok := s[key]; !ok {
		return nil
	}
	return []string{"steps", strconv.Itoa(i), key}
}

func (w *replayWatch) gradients(r *run, norm, left float64) {
	if path := w.step(r, "lr"); path != nil {
		var rates []float64
		for i, g := range r.opt.groups {
			if g.n > 0 {
				rates = append(rates, r.opt.rates(r.done)[i])
			}
		}
		w.c.CompareNumbers(w.t, rates, path...)
	} else {
		w.t.Errorf("%s: the original makes no update at step %d", r.phase, r.done)
	}
	if r.phase == Inversion {
		w.c.Compare(w.t, fmt.Sprintf("inversion.%d.placeholder_grad", r.done), r.opt.slab.Grad.Float32())
		w.before = r.step.Words.Placeholders[0].T.Float32()
		w.follow(r, 1)
		return
	}
	w.follow(r, clipFactor(norm, r.Options.MaxGradNorm))
	w.c.CompareNumbers(w.t, []float64{norm}, w.step(r, "total_norm")...)
	w.c.CompareNumbers(w.t, []float64{left}, w.step(r, "left_over_embedding_grad_norm")...)
	for _, p := range r.opt.slab.Params {
		if name := fmt.Sprintf("tuning.%d.grad.%s", r.done, p.Name); w.c.Has(name) {
			w.c.Compare(w.t, name, p.V.Grad().Float32())
		}
	}
}

// follow keeps account of how far rounding may take the values apart.
func (w *replayWatch) follow(r *run, clip float64) {
	for _, p := range r.opt.slab.Params {
		if w.drift[p.Name] == nil {
			w.drift[p.Name] = newDrift(p.Len)
		}
		for _, g := range r.opt.groups {
			if p.Off >= g.off && p.Off < g.off+g.n {
				w.drift[p.Name].update(p.V.Grad().Float32(), clip, g.rate.At(r.done))
			}
		}
	}
}

func (w *replayWatch) stepped(r *run, loss float64) {
	i, _ := w.f.at(r.phase, r.done-1)
	w.c.CompareNumbers(w.t, []float64{loss}, "steps", strconv.Itoa(i), "loss")
	if r.phase == Inversion {
		rows, d := r.step.Words.Placeholders[0].T, w.drift[r.opt.slab.Params[0].Name]
		if w.before != nil {
			d.pulled(w.before, rows.Float32(), rows.Dim(1))
			w.before = nil
		}
		w.c.CompareAllowing(w.t, fmt.Sprintf("inversion.%d.placeholder_rows", r.done-1), rows.Float32(), d.bound)
		return
	}
	for _, p := range r.opt.slab.Params {
		if name := fmt.Sprintf("tuning.%d.after.%s", r.done-1, p.Name); w.c.Has(name) {
			w.c.CompareAllowing(w.t, name, p.V.T.Float32(), w.drift[p.Name].bound)
		}
		if name := "final." + p.Name; r.done == r.steps(Tuning) && w.c.Has(name) {
			w.c.CompareAllowing(w.t, name, p.V.T.Float32(), w.drift[p.Name].bound)
		}
	}
}

// finish compares the tokens and the file.
func (w *replayWatch) finish(result *Result) {
	var rows []float32
	for _, tok := range result.Set.Tokens {
		rows = append(rows, tok.Rows[0][0]...)
	}
	w.c.CompareAllowing(w.t, "final.placeholder_rows", rows, w.drift["rows.0"].bound)

	path := w.t.TempDir() + "/out.safetensors"
	if err := lora.WriteFile(path, result.Set, lora.Cloneofsimo); err != nil {
		w.t.Fatal(err)
	}
	got, err := lora.Open(path, result.Set.Base)
	if err != nil {
		w.t.Fatal(err)
	}
	want, err := lora.Open(w.c.Root.Path("train/"+w.c.Base+"/final_lora.safetensors"), result.Set.Base)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if len(got.Adapters) != len(want.Adapters) {
		w.t.Fatalf("the file has %d adapters, want %d", len(got.Adapters), len(want.Adapters))
	}
	for i, a := range want.Adapters {
		b := got.Adapters[i]
		for _, m := range []struct {
			part      string
			got, want []float32
		}{{"down", b.Down, a.Down}, {"up", b.Up, a.Up}} {
			// In float16 each side may round to its next.
			further := slices.Clone(w.drift[a.Module.String()+"."+m.part].bound)
			for i, x := range m.want {
				further[i] += math.Ldexp(math.Max(math.Abs(float64(x)), math.Ldexp(1, -14)), -10)
			}
			if diff := paritytest.Diff(nil, m.want, paritytest.Nearer(m.want, m.got, further), paritytest.Tolerance{Abs: 5e-5}); diff != "" {
				w.t.Errorf("the file's %s.%s: %s", a.Module, m.part, diff)
			}
		}
	}
}
