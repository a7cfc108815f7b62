package autodiff_test

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// TestParity holds each operation, forward and backward, to PyTorch's numbers.
func TestParity(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "ops", func(t *testing.T, c *paritytest.Case) {
			if c.Prefix == "adamw" {
				testAdamW(t, pool, c)
				return
			}
			o := newOps(t, pool, c)
			defer o.release()
			err := autodiff.Record(context.Background(), pool, autodiff.Options{}, o.run)
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

// ops is one case: its inputs as parameters of a slab, since all their
// gradients are stored.
type ops struct {
	t    *testing.T
	c    *paritytest.Case
	pool *tensor.Pool
	slab *nn.Slab
	in   map[string]*autodiff.Value
	w    map[string]autodiff.Weight
	free []device.Weight
}

func newOps(t *testing.T, pool *tensor.Pool, c *paritytest.Case) *ops {
	o := &ops{t: t, c: c, pool: pool, in: map[string]*autodiff.Value{}, w: map[string]autodiff.Weight{}}
	var b nn.SlabBuilder
	for _, name := range c.Names("in.") {
		x := c.Tensor(t, name)
		name = strings.TrimPrefix(name, "in.")
		if !isWeight(name) {
			x = x.NHWC()
		}
		o.in[name] = b.Add(name, x.F32, x.Shape...)
	}
	o.slab = b.Build(pool)
	for name, v := range o.in {
		if isWeight(name) && len(v.Shape()) >= 2 {
			o.w[name] = o.freeze(v.T.Float32(), v, v.Shape()...)
		}
	}
	return o
}

// isWeight tells weights, which stay in PyTorch's layout, from pictures.
func isWeight(name string) bool { return strings.HasSuffix(name, "w") }

func (o *ops) freeze(values []float32, master *autodiff.Value, shape ...int) autodiff.Weight {
	t := o.pool.FromFloat32(values, shape...)
	defer t.Release()
	host := make([]byte, 4*len(values))
	o.pool.Device.Download(host, t.Data)
	packed, err := o.pool.Device.Freeze(device.HostWeight{Type: device.F32, Shape: shape, Data: host})
	if err != nil {
		o.t.Fatal(err)
	}
	o.free = append(o.free, packed)
	return autodiff.Weight{Packed: packed, Master: master}
}

func (o *ops) release() {
	for _, w := range o.free {
		o.pool.Device.Thaw(w)
	}
	o.slab.Release()
}

func (o *ops) run(p *autodiff.Pass) error {
	c, t := o.c, o.t
	if o.c.Prefix == "mse" {
		return o.mse(p)
	}
	y, err := o.forward(p)
	if err != nil {
		return err
	}
	defer y.Release()
	c.CompareNHWC(t, "out", y.T.Float32())
	up := c.Tensor(t, "upstream").NHWC()
	g := p.Pool.FromFloat32(up.F32, up.Shape...)
	p.Seed(y, g)
	g.Release()
	p.Backward()
	for name, v := range o.in {
		if isWeight(name) {
			c.Compare(t, "grad."+name, v.Grad().Float32())
		} else {
			c.CompareNHWC(t, "grad."+name, v.Grad().Float32())
		}
	}
	return nil
}

var (
	convName      = regexp.MustCompile(`^conv\d+x\d+(?:_s(\d+)_(?:p(\d+)|(pad_right_bottom)))?$`)
	groupNormName = regexp.MustCompile(`^groupnorm_g(\d+)_eps([0-9e.-]+)$`)
	attentionName = regexp.MustCompile(`^(self|cross|causal)_attention_h(\d+)$`)
	activations   = map[string]device.Activation{
		"silu": device.SiLU, "quick_gelu": device.QuickGELU, "gelu_exact": device.GELU, "gelu_tanh": device.GELUTanh,
	}
)

func number(s string) int { n, _ := strconv.Atoi(s); return n }

func (o *ops) forward(p *autodiff.Pass) (*autodiff.Value, error) {
	in, name := o.in, o.c.Prefix
	if f, ok := activations[name]; ok {
		return p.Activate(f, in["x"]), nil
	}
	if m := convName.FindStringSubmatch(name); m != nil {
		g := device.ConvGeom{Stride: max(number(m[1]), 1), Top: number(m[2]), Left: number(m[2]), Bottom: number(m[2]), Right: number(m[2])}
		if m[3] != "" {
			g.Bottom, g.Right = 1, 1
		}
		return p.Conv(in["x"], o.w["w"], in["b"], nil, g, autodiff.Fused{}), nil
	}
	if m := groupNormName.FindStringSubmatch(name); m != nil {
		eps, err := strconv.ParseFloat(m[2], 64)
		return p.GroupNorm(in["x"], in["w"], in["b"], number(m[1]), float32(eps), false), err
	}
	if m := attentionName.FindStringSubmatch(name); m != nil {
		heads := number(m[2])
		scale := float32(1 / math.Sqrt(float64(in["q"].T.Dim(2)/heads)))
		return p.Attention(in["q"], in["k"], in["v"], heads, scale, m[1] == "causal"), nil
	}
	switch {
	case name == "linear" || name == "linear_nobias":
		return p.Linear(in["x"], o.w["w"], in["b"], nil, autodiff.Fused{}), nil
	case name == "layernorm":
		return p.LayerNorm(in["x"], in["w"], in["b"], 1e-5), nil
	case name == "geglu":
		h := p.Linear(in["x"], o.w["w"], in["b"], nil, autodiff.Fused{})
		defer h.Release()
		return p.GEGLU(h), nil
	case strings.HasPrefix(name, "upsample_nearest"):
		out := o.c.Tensor(o.t, "out").Shape
		return p.Upsample(in["x"], out[2], out[3]), nil
	case name == "resnet_block":
		return o.resnet(p), nil
	case name == "softmax":
		return o.softmax(p), nil
	case name == "normalize_rows":
		return o.normalizeRows(p), nil
	}
	return nil, fmt.Errorf("no operation for the case %q: add it here", name)
}

func (o *ops) resnet(p *autodiff.Pass) *autodiff.Value {
	in := o.in
	pad := device.ConvGeom{Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
	const groups1, groups2 = 4, 2 // as scripts/parity has them
	temb := p.Activate(device.SiLU, in["t"])
	defer temb.Release()
	row := p.Linear(temb, o.w["tw"], in["tb"], nil, autodiff.Fused{})
	defer row.Release()
	h := p.GroupNorm(in["x"], in["n1w"], in["n1b"], groups1, 1e-5, true)
	defer h.Release()
	h1 := p.Conv(h, o.w["c1w"], in["c1b"], nil, pad, autodiff.Fused{RowVector: row, RowsPerImage: h.T.Dim(1) * h.T.Dim(2)})
	defer h1.Release()
	h2 := p.GroupNorm(h1, in["n2w"], in["n2b"], groups2, 1e-5, true)
	defer h2.Release()
	shortcut := p.Conv(in["x"], o.w["sw"], in["sb"], nil, device.ConvGeom{Stride: 1}, autodiff.Fused{})
	defer shortcut.Release()
	return p.Conv(h2, o.w["c2w"], in["c2b"], nil, pad, autodiff.Fused{Residual: shortcut})
}

// softmax is attention with unit keys and values: softmax(x·I)·I.
func (o *ops) softmax(p *autodiff.Pass) *autodiff.Value {
	x := o.in["x"]
	n := x.T.Dim(-1)
	unit := autodiff.Constant(p.Pool.FromFloat32(identity(n, n, 1), 1, n, n))
	defer unit.Release()
	q := p.Reshape(x, 1, -1, n)
	defer q.Release()
	return p.Attention(q, unit, unit, 1, 1, false)
}

// normalizeRows is the layer norm of x ‖ −x, whose mean is 0 and whose variance
// is |x|²/n.
func (o *ops) normalizeRows(p *autodiff.Pass) *autodiff.Value {
	x := o.in["x"]
	n := x.T.Dim(1)
	minus := p.Linear(x, o.freeze(identity(n, n, -1), nil, n, n), nil, nil, autodiff.Fused{})
	defer minus.Release()
	both := p.Concat(x, minus)
	defer both.Release()
	scale, zero := make([]float32, 2*n), make([]float32, 2*n)
	for i := range scale {
		scale[i] = float32(1 / math.Sqrt(float64(n)))
	}
	gamma, beta := autodiff.Constant(p.Pool.FromFloat32(scale, 2*n)), autodiff.Constant(p.Pool.FromFloat32(zero, 2*n))
	defer gamma.Release()
	defer beta.Release()
	y := p.LayerNorm(both, gamma, beta, 0)
	defer y.Release()
	return p.Linear(y, o.freeze(identity(n, 2*n, 1), nil, n, 2*n), nil, nil, autodiff.Fused{})
}

func identity(rows, cols int, v float32) []float32 {
	m := make([]float32, rows*cols)
	for i := range rows {
		m[i*cols+i] = v
	}
	return m
}

// mse is the mean over everything; each sample's loss is its mean over N, so
// they add up to it. The gradient of the target is that of the prediction with
// both exchanged.
func (o *ops) mse(p *autodiff.Pass) error {
	x, y := o.in["x"], o.in["y"]
	up := o.c.Tensor(o.t, "upstream").F32[0]
	weights := make([]float32, x.T.Dim(0))
	for i := range weights {
		weights[i] = up
	}
	plain := p.Loss(x, y.T, nil, nil)
	defer plain.Release()
	var sum float32
	for _, l := range plain.Float32() {
		sum += l
	}
	o.c.Compare(o.t, "out", []float32{sum})
	o.slab.ZeroGrad()
	weight := p.Pool.FromFloat32(weights, len(weights))
	defer weight.Release()
	p.Loss(x, y.T, nil, weight).Release()
	p.Loss(y, x.T, nil, weight).Release()
	p.Backward()
	o.c.CompareNHWC(o.t, "grad.x", x.Grad().Float32())
	o.c.CompareNHWC(o.t, "grad.y", y.Grad().Float32())
	return nil
}

// testAdamW follows steps of AdamW with clipping over two groups of their own
// learning rates.
func testAdamW(t *testing.T, pool *tensor.Pool, c *paritytest.Case) {
	var b nn.SlabBuilder
	names := []string{"a", "b"}
	for _, name := range names {
		x := c.Tensor(t, "init."+name)
		b.Add(name, x.F32, x.Shape...)
	}
	slab := b.Build(pool)
	defer slab.Release()
	dev := pool.Device
	m, v := pool.Zeros(slab.Value.Len()), pool.Zeros(slab.Value.Len())
	sum, clip := pool.New(device.F32, 1), pool.New(device.F32, 1)
	clipped := pool.New(device.F32, slab.Grad.Len())
	for _, x := range []*tensor.Tensor{m, v, sum, clip, clipped} {
		defer x.Release()
	}
	var norms []float64
	beta1, beta2 := c.Numbers(t, "betas")[0], c.Numbers(t, "betas")[1]
	for step := 0; c.Has(fmt.Sprintf("step%d.a", step)); step++ {
		var segments []device.AdamWSegment
		var hypers []*tensor.Tensor
		for i, param := range slab.Params {
			param.V.Grad().SetFloat32(c.Tensor(t, fmt.Sprintf("step%d.grad.%s", step, names[i])).F32)
			hyper := pool.FromFloat32([]float32{
				float32(c.Numbers(t, "lr", param.Name)[0]), float32(beta1), float32(beta2), float32(c.Numbers(t, "eps")[0]),
				float32(c.Numbers(t, "weight_decay")[0]),
				float32(1 - math.Pow(beta1, float64(step+1))), float32(1 - math.Pow(beta2, float64(step+1))),
			}, 7)
			hypers = append(hypers, hyper)
			segments = append(segments, device.AdamWSegment{Off: param.Off, Len: param.Len, Hyper: hyper.Data})
		}
		dev.SumSquares(sum.Data, slab.Grad.Data, 0)
		norm := math.Sqrt(float64(sum.Float32()[0]))
		norms = append(norms, norm)
		dev.ClipFactor(clip.Data, sum.Data, float32(c.Numbers(t, "max_norm")[0]))
		dev.Combine(clipped.Data, clip.Data, slab.Grad.Data)
		for _, param := range slab.Params {
			c.Compare(t, fmt.Sprintf("step%d.clipped.%s", step, param.Name), clipped.Float32()[param.Off:][:param.Len])
		}
		dev.AdamW(device.Slab{Value: slab.Value.Data, Grad: slab.Grad.Data, M: m.Data, V: v.Data}, segments, clip.Data)
		for _, param := range slab.Params {
			c.Compare(t, fmt.Sprintf("step%d.%s", step, param.Name), param.V.T.Float32())
		}
		for _, h := range hypers {
			h.Release()
		}
	}
	c.CompareNumbers(t, norms, "total_norms")
}
