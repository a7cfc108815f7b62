package cpu

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// loss is the task of Loss. A chunk is a sample.
type loss struct {
	out, grad, pred, target, mask, weight []float32
	g                                     device.LossGeom
}

// Loss implements device.Training.
func (d *Device) Loss(out, dpred, pred, target, mask, weight device.Array, g device.LossGeom) {
	const op = "Loss"
	if g.N < 1 || g.Pixels < 1 || g.C < 1 {
		badGeometry(op, g, "nothing to sum")
	}
	t := &d.tasks.loss
	size := g.N * g.Pixels * g.C
	*t = loss{
		out:    d.f32n(op, "loss", out, g.N),
		grad:   d.optional(op, "dpred", dpred, size),
		pred:   d.f32n(op, "pred", pred, size),
		target: d.f32n(op, "target", target, size),
		mask:   d.optional(op, "mask", mask, g.N*g.Pixels),
		weight: d.optional(op, "weight", weight, g.N),
		g:      g,
	}
	d.fork(t, g.N, moved*4*size)
}

// run sums in float64, pixel by pixel in order.
func (t *loss) run(_ *worker, n int) {
	g := &t.g
	scale := 1 / float64(g.Pixels*g.C) / float64(g.N)
	if t.weight != nil {
		scale *= float64(t.weight[n])
	}
	sum := 0.0
	for p := n * g.Pixels; p < (n+1)*g.Pixels; p++ {
		m := float32(1)
		if t.mask != nil {
			m = t.mask[p]
		}
		slope := float32(2 * scale * float64(m) * float64(m))
		target := t.target[p*g.C:][:g.C]
		pixel := 0.0
		for c, v := range t.pred[p*g.C:][:g.C] {
			e := v - target[c]
			pixel += float64(float64(e) * float64(e))
			if t.grad != nil {
				t.grad[p*g.C+c] = float32(slope * e)
			}
		}
		sum += float64(float64(m) * float64(float64(m)*pixel))
	}
	t.out[n] = float32(scale * sum)
}

// sumSquares is the task of SumSquares. A chunk is a run of squareElements,
// summed in float32; the runs are then added in float64 in order.
type sumSquares struct {
	d    *Device
	x    []float32
	part []float32
}

const squareElements = 8192

// SumSquares implements device.Training.
func (d *Device) SumSquares(out, x device.Array, acc float32) {
	const op = "SumSquares"
	t := &d.tasks.sumSquares
	o := d.f32n(op, "out", out, 1)
	*t = sumSquares{d: d, x: d.f32(op, "x", x)}
	total := 0.0
	if len(t.x) > 0 {
		n := ceil(len(t.x), squareElements)
		buf, part := d.temp(n)
		if buf == nil {
			return
		}
		t.part = part
		d.fork(t, n, moved*len(t.x))
		for _, v := range part {
			total += float64(v)
		}
		d.Release(buf)
	}
	if acc != 0 {
		total += float64(acc) * float64(o[0])
	}
	o[0] = float32(total)
}

func (t *sumSquares) run(_ *worker, chunk int) {
	lo := chunk * squareElements
	t.part[chunk] = t.d.kernels.SumSquares(t.x[lo:min(lo+squareElements, len(t.x))])
}

// ClipFactor implements device.Training.
func (d *Device) ClipFactor(factor, sum device.Array, maxNorm float32) {
	f, s := d.f32n("ClipFactor", "factor", factor, 1), d.f32n("ClipFactor", "sum", sum, 1)
	f[0] = min(1, maxNorm/(float32(math.Sqrt(float64(s[0])))+1e-6))
}

// adamW is the task of AdamW over one segment. A chunk is a run of
// mapElements.
type adamW struct {
	d          *Device
	p, g, m, v []float32
	step       kernel.AdamWStep
}

// AdamW implements device.Training.
func (d *Device) AdamW(s device.Slab, segments []device.AdamWSegment, clip device.Array) {
	const op = "AdamW"
	t := &d.tasks.adamW
	n := s.Value.Len
	p, g := d.f32(op, "values", s.Value), d.f32n(op, "gradients", s.Grad, n)
	m, v := d.f32n(op, "first moments", s.M, n), d.f32n(op, "second moments", s.V, n)
	factor := d.optional(op, "clip", clip, 1)
	for _, seg := range segments {
		if seg.Off < 0 || seg.Len < 0 || seg.Off+seg.Len > n {
			badGeometry(op, seg, "a segment outside the slab")
		}
		lo, hi := seg.Off, seg.Off+seg.Len
		*t = adamW{d: d, p: p[lo:hi], g: g[lo:hi], m: m[lo:hi], v: v[lo:hi]}
		t.step = adamWStep(d.f32n(op, "hyper", seg.Hyper, 7))
		if factor != nil {
			t.step.Clip = factor[0]
		}
		d.fork(t, ceil(seg.Len, mapElements), moved*4*seg.Len)
	}
}

// adamWStep reads the hyperparameters of a segment: learning rate, beta1,
// beta2, epsilon, weight decay, 1−beta1^t, 1−beta2^t.
//
// In float32 the 1−beta of 0.999 would be wrong by 5e-5, which is seen in the
// first steps. The betas have at most seven decimals, so rounding to that
// brings the number back that was meant.
func adamWStep(h []float32) kernel.AdamWStep {
	complement := func(beta float32) float32 {
		return float32(math.Round((1-float64(beta))*1e7) / 1e7)
	}
	lr := float64(h[0])
	return kernel.AdamWStep{
		Keep:      float32(1 - lr*float64(h[4])),
		Clip:      1,
		OneMinus1: complement(h[1]),
		Beta2:     h[2],
		OneMinus2: complement(h[2]),
		RootBias2: float32(math.Sqrt(float64(h[6]))),
		Eps:       h[3],
		Rate:      float32(lr / float64(h[5])),
	}
}

func (t *adamW) run(_ *worker, chunk int) {
	lo := chunk * mapElements
	hi := min(lo+mapElements, len(t.p))
	t.d.kernels.AdamW(t.p[lo:hi], t.g[lo:hi], t.m[lo:hi], t.v[lo:hi], &t.step)
}

// normal is the task of Normal. A chunk is a run of mapElements.
type normal struct {
	dst  []float32
	draw kernel.Draw
}

// Normal implements device.Training: see kernel.Normals for the mapping from
// Philox words to numbers.
func (d *Device) Normal(dst device.Array, a device.Draw) {
	t := &d.tasks.normal
	*t = normal{dst: d.f32("Normal", "dst", dst), draw: d.draw("Normal", a)}
	d.fork(t, ceil(dst.Len, mapElements), moved*16*dst.Len)
}

func (t *normal) run(_ *worker, chunk int) {
	lo := chunk * mapElements
	kernel.Normals(t.dst[lo:min(lo+mapElements, len(t.dst))], t.draw, uint64(lo))
}
