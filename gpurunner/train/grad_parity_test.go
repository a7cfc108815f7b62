package train

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestGradients holds the training step to PyTorch's losses and gradients: with
// placeholder rows, adapters on UNet and text encoder, and every weight of the
// UNet trained at once, under each loss; and gradient checkpointing to the step
// without.
func TestGradients(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "grad", func(t *testing.T, c *paritytest.Case) {
			newGradCase(t, pool, c, false).compare()
			if c.Root.Name == "small" && c.Text("inputs") == "" {
				compareCheckpointed(t, pool, c)
			}
		})
	})
}

func compareCheckpointed(t *testing.T, pool *tensor.Pool, c *paritytest.Case) {
	t.Helper()
	plain, again := gradsOf(t, pool, c, false), gradsOf(t, pool, c, true)
	for i, v := range plain {
		if v != again[i] {
			t.Fatalf("gradient checkpointing changes gradient %d: got %v, want %v", i, again[i], v)
		}
	}
}

func gradsOf(t *testing.T, pool *tensor.Pool, c *paritytest.Case, checkpoint bool) []float32 {
	g := newGradCase(t, pool, c, checkpoint)
	defer g.release()
	g.run()
	return g.slab.Grad.Float32()
}

// gradCase is one case with its model loaded and its parameters in a slab.
type gradCase struct {
	t      *testing.T
	c, in  *paritytest.Case // in holds the inputs
	kind   string           // of the loss: "", masked, masked_temp, minsnr, v, accum
	model  *diffusion.Model
	step   *Step
	slab   *nn.Slab
	loras  *lora.Trainable
	frozen []*autodiff.Value
	batch  *Batch

	input, pred []float32
	rowGrads    map[int32][]float64 // gradient of the vocabulary, by token
	losses      []float64
	closers     []func()
}

func newGradCase(t *testing.T, pool *tensor.Pool, c *paritytest.Case, checkpoint bool) *gradCase {
	g := &gradCase{t: t, c: c, in: c, rowGrads: map[int32][]float64{}}
	_, g.kind, _ = strings.Cut(c.Base, ".")
	if name := c.Text("inputs"); name != "" {
		g.in = c.Sibling(t, name)
	}
	var err error
	if g.model, err = diffusion.Open(pool, enginetest.Base(t, c.ModelDir(t))); err != nil {
		t.Fatal(err)
	}
	schedule, err := sampler.NewSchedule(g.model.Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	g.step = &Step{Model: g.model, Schedule: schedule, Velocity: c.Text("prediction_type") == "v_prediction", Checkpoint: checkpoint}
	if g.kind == "minsnr" {
		g.step.MinSNR = 5
	}
	g.parameters(pool)
	g.batch = g.makeBatch(pool, 0, -1)
	return g
}

// parameters puts rows, adapters and the UNet's weights into one slab.
func (g *gradCase) parameters(pool *tensor.Pool) {
	t := g.t
	b := &nn.SlabBuilder{}
	u, release, err := g.model.TrainUNet(diffusion.Trained{Slab: b, Match: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	g.closers = append(g.closers, release)
	g.step.UNet = u
	rows := g.in.Tensor(t, "in.placeholder_rows")
	g.step.Words.Placeholders = []*autodiff.Value{b.Add("rows", rows.F32, rows.Shape...)}
	if g.model.IsXL() {
		second := autodiff.Constant(pool.FromFloat32(secondRows(t, g.c.Root, g.c.Model(), rows.Shape[0], g.model.Text[1].Config.HiddenSize), rows.Shape[0], g.model.Text[1].Config.HiddenSize))
		g.frozen = append(g.frozen, second)
		g.step.Words.Placeholders = append(g.step.Words.Placeholders, second)
	}
	encoder, err := g.model.TextNetwork(0)
	if err != nil {
		t.Fatal(err)
	}
	base := lora.NewBase(g.c.Model(), g.model.UNetConfig(), g.configs()...)
	g.loras, err = lora.NewTrainable(pool, b, u, []*clip.Encoder{encoder}, lora.TrainOptions{
		Base: base, Rank: g.rank(), Targets: lora.DefaultTargets,
		Init: func(_ int, m *lora.Module, down []float32) {
			copy(down, g.in.Tensor(t, "lora."+fixtureName(m.String())+".down").F32)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.slab = b.Build(pool)
	for _, p := range g.slab.Params {
		if name := "lora." + fixtureName(p.Name); strings.HasSuffix(p.Name, ".up") && g.in.Has(name) {
			p.V.T.SetFloat32(g.in.Tensor(t, name).F32)
		}
	}
	g.step.Words.Seen = func(i int, dy *tensor.Tensor) {
		if i == 0 {
			g.sumByToken(dy)
		}
	}
}

func (g *gradCase) configs() []clip.Config {
	var out []clip.Config
	for _, e := range g.model.Text {
		out = append(out, e.Config)
	}
	return out
}

func (g *gradCase) rank() int {
	for _, n := range g.in.Names("lora.unet.") {
		if strings.HasSuffix(n, ".down") {
			return g.in.Tensor(g.t, n).Shape[0]
		}
	}
	g.t.Fatal("the case has no adapters")
	return 0
}

// makeBatch takes n samples from first on, all where n is -1.
func (g *gradCase) makeBatch(pool *tensor.Pool, first, n int) *Batch {
	ts := g.in.Tensor(g.t, "in.timesteps").I64
	if n < 0 {
		n = len(ts)
	}
	take := func(x paritytest.Tensor) *tensor.Tensor {
		x = x.NHWC()
		size := x.Len() / x.Shape[0]
		return pool.FromFloat32(x.F32[first*size:(first+n)*size], append([]int{n}, x.Shape[1:]...)...)
	}
	b := &Batch{Latents: take(g.in.Tensor(g.t, "in.latents")), Noise: take(g.in.Tensor(g.t, "in.noise"))}
	for _, v := range ts[first : first+n] {
		b.Timesteps = append(b.Timesteps, int(v))
	}
	for i := range g.model.Text {
		name := "in.input_ids"
		if i == 1 {
			name += "_2"
		}
		ids := g.in.Tensor(g.t, name)
		var prompts clip.Prompts
		for s := first; s < first+n; s++ {
			row := make([]int32, ids.Shape[1])
			for j := range row {
				row[j] = int32(ids.I64[s*ids.Shape[1]+j])
			}
			prompts = append(prompts, row)
		}
		b.Tokens = append(b.Tokens, prompts)
	}
	if g.in.Has("in.time_ids") {
		ids := g.in.Tensor(g.t, "in.time_ids")
		for s := first; s < first+n; s++ {
			var six [6]float64
			for j := range six {
				six[j] = float64(ids.F32[6*s+j])
			}
			b.TimeIDs = append(b.TimeIDs, six)
		}
	}
	if g.in.Has("in.inpaint_mask") {
		mask, latents := take(g.in.Tensor(g.t, "in.inpaint_mask")), take(g.in.Tensor(g.t, "in.inpaint_latents"))
		l := latents.Dim(3)
		b.Inpaint = pool.New(device.F32, n, latents.Dim(1), latents.Dim(2), 1+l)
		m := b.Inpaint.Matrix()
		pool.Device.CopyRows(m.Columns(0, 1), mask.Matrix(), 0)
		pool.Device.CopyRows(m.Columns(1, l), latents.Matrix(), 0)
		mask.Release()
		latents.Release()
	}
	if strings.HasPrefix(g.kind, "masked") {
		mask := g.in.Tensor(g.t, "in.mask01")
		h, w := mask.Shape[2], mask.Shape[3]
		var masks [][]uint8
		for s := first; s < first+n; s++ {
			m := make([]uint8, h*w)
			for i := range m {
				m[i] = 255 * mask.U8[s*h*w+i]
			}
			masks = append(masks, m)
		}
		lw := b.Latents.Dim(2)
		b.Mask = pool.FromFloat32(latentMasks(masks, w, h, w/lw, g.c.Numbers(g.t, "mask_temperature")[0], false), n, b.Latents.Dim(1), lw)
	}
	return b
}

func (g *gradCase) run() {
	t := g.t
	defer g.batch.Release()
	ctx := context.Background()
	if g.kind == "accum" {
		n := len(g.batch.Timesteps)
		for i := range n {
			one := g.makeBatch(g.model.Pool, i, 1)
			losses, err := g.step.Run(ctx, one, 1/float64(n))
			one.Release()
			if err != nil {
				t.Fatal(err)
			}
			g.losses = append(g.losses, losses...)
		}
		return
	}
	g.step.Seen = func(input, pred *tensor.Tensor) { g.input, g.pred = input.Float32(), pred.Float32() }
	losses, err := g.step.Run(ctx, g.batch, 1)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, l := range losses {
		sum += l
	}
	g.losses = []float64{sum / float64(len(losses))}
}

// sumByToken adds a gradient of embedded prompts to that of the vocabulary.
func (g *gradCase) sumByToken(dy *tensor.Tensor) {
	c := dy.Dim(2)
	for i, v := range dy.Float32() {
		at := i / c
		id := g.batch.Tokens[0][at/dy.Dim(1)][at%dy.Dim(1)]
		if g.rowGrads[id] == nil {
			g.rowGrads[id] = make([]float64, c)
		}
		g.rowGrads[id][i%c] += float64(v)
	}
}

func (g *gradCase) compare() {
	defer g.release()
	g.run()
	t, c := g.t, g.c
	if c.Has("out.pred") {
		c.CompareNHWC(t, "out.unet_input", g.input)
		c.CompareNHWC(t, "out.pred", g.pred)
	}
	losses := make([]float32, len(g.losses))
	for i, l := range g.losses {
		losses[i] = float32(l)
	}
	c.Compare(t, "out.loss", losses)
	c.CompareNumbers(t, g.losses, "loss")
	var total float64
	for _, p := range g.slab.Params {
		grad := p.V.Grad().Float32()
		norm, sum := normSum(grad)
		switch {
		case p.Name == "rows":
			c.Compare(t, "grad.placeholder_rows", grad)
		case strings.HasPrefix(p.Name, "unet.") || strings.HasPrefix(p.Name, "text_encoder"):
			total += norm * norm
			name := fixtureName(p.Name)
			if c.Has("grad.lora." + name) {
				c.Compare(t, "grad.lora."+name, grad)
			}
			if _, ok := c.Meta["lora_grad_norm"]; ok {
				c.CompareNumbers(t, []float64{norm}, "lora_grad_norm", name)
			}
		default:
			if c.Has("grad.full." + p.Name) {
				c.Compare(t, "grad.full."+p.Name, grad)
			}
			if all, _ := c.Meta["full_weight_grad_norm_and_sum"].(map[string]any); all[p.Name] != nil {
				c.CompareNumbers(t, []float64{norm, sum}, "full_weight_grad_norm_and_sum", p.Name)
			}
		}
	}
	if _, ok := c.Meta["lora_grad_total_norm"]; ok {
		c.CompareNumbers(t, []float64{math.Sqrt(total)}, "lora_grad_total_norm")
	}
	if _, ok := c.Meta["token_embedding_grad_norm_all_rows"]; ok {
		all := 0.0
		for _, row := range g.rowGrads {
			for _, v := range row {
				all += v * v
			}
		}
		c.CompareNumbers(t, []float64{math.Sqrt(all)}, "token_embedding_grad_norm_all_rows")
	}
}

// fixtureName is a parameter's name as transformers 5 has it.
func fixtureName(name string) string { return strings.Replace(name, ".text_model.", ".", 1) }

func normSum(v []float32) (norm, sum float64) {
	for _, x := range v {
		norm += float64(x) * float64(x)
		sum += float64(x)
	}
	return math.Sqrt(norm), sum
}

func (g *gradCase) release() {
	g.loras.Release()
	g.slab.Release()
	for _, v := range g.frozen {
		v.Release()
	}
	for _, f := range g.closers {
		f()
	}
	g.model.Release()
}
