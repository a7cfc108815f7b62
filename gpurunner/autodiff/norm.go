package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

type groupNorm struct {
	y, x, gamma, beta *Value
	g                 device.NormGeom
	silu              bool
	saved, stats      *tensor.Tensor
}

// GroupNorm normalises x [N,H,W,C] or [N,T,C] per image and group of channels,
// then applies SiLU if silu. gamma and beta are [C].
func (p *Pass) GroupNorm(x, gamma, beta *Value, groups int, eps float32, silu bool) *Value {
	p.check()
	n, c := x.T.Dim(0), x.T.Dim(-1)
	g := device.NormGeom{N: n, C: c, Groups: groups, Eps: eps}
	if n*c > 0 {
		g.Pixels = x.T.Len() / (n * c)
	}
	mustShape("group norm's scale", gamma.T.Shape, c)
	y, stats := p.new(x.T.Shape...), p.new(n, groups, 2)
	p.Device().GroupNorm(y.Data, stats.Data, x.T.Data, gamma.T.Data, beta.T.Data, g, silu)
	out := &Value{T: y}
	if p.tape != nil && (x.needs || gamma.needs || beta.needs) {
		out.needs = true
		gamma.Retain()
		beta.Retain()
		p.record(&groupNorm{y: out, x: x, gamma: gamma, beta: beta, g: g, silu: silu, saved: x.T.Retain(), stats: stats.Retain()})
	}
	stats.Release()
	return out
}

func (op *groupNorm) output() *Value { return op.y }

func (op *groupNorm) release() {
	if op.saved == nil {
		return
	}
	op.saved.Release()
	op.stats.Release()
	op.gamma.Release()
	op.beta.Release()
	op.saved, op.stats = nil, nil
}

func (op *groupNorm) backward(p *Pass, dy *tensor.Tensor) {
	dx, acc, done := p.gradOrScratch(op.x, op.saved)
	defer done()
	p.Device().GroupNormBack(dx, p.paramGrad(op.gamma), p.paramGrad(op.beta), dy.Data, op.saved.Data, op.stats.Data,
		op.gamma.T.Data, op.beta.T.Data, op.g, op.silu, acc)
}

// gradOrScratch returns where the gradient of x goes; where none is needed, a
// scratch of x's size, since the kernels compute it beside those of scale and
// shift.
func (p *Pass) gradOrScratch(x *Value, like *tensor.Tensor) (dx device.Array, acc float32, done func()) {
	if x.needs {
		g, acc := p.gradInto(x)
		return g.Data, acc, func() {}
	}
	scratch := p.new(like.Shape...)
	return scratch.Data, 0, scratch.Release
}

// paramGrad returns the zero-initialised or running gradient of a scale or
// shift, none if it is frozen.
func (p *Pass) paramGrad(v *Value) device.Array {
	if !v.NeedsGrad() {
		return device.Array{}
	}
	g, acc := p.gradInto(v)
	if acc == 0 {
		p.Device().Fill(g.Data, 0)
	}
	return g.Data
}

type layerNorm struct {
	y, x, gamma, beta *Value
	saved, stats      *tensor.Tensor
}

// LayerNorm normalises each row of x [...,C].
func (p *Pass) LayerNorm(x, gamma, beta *Value, eps float32) *Value {
	p.check()
	xm := x.T.Matrix()
	y, stats := p.new(x.T.Shape...), p.new(xm.Rows, 2)
	p.Device().LayerNorm(y.Matrix(), stats.Data, xm, gamma.T.Data, beta.T.Data, eps)
	out := &Value{T: y}
	if p.tape != nil && (x.needs || gamma.needs || beta.needs) {
		out.needs = true
		gamma.Retain()
		p.record(&layerNorm{y: out, x: x, gamma: gamma, beta: beta, saved: x.T.Retain(), stats: stats.Retain()})
	}
	stats.Release()
	return out
}

func (op *layerNorm) output() *Value { return op.y }

func (op *layerNorm) release() {
	if op.saved == nil {
		return
	}
	op.saved.Release()
	op.stats.Release()
	op.gamma.Release()
	op.saved, op.stats = nil, nil
}

func (op *layerNorm) backward(p *Pass, dy *tensor.Tensor) {
	dx, acc, done := p.gradOrScratch(op.x, op.saved)
	defer done()
	m := op.saved.Matrix()
	p.Device().LayerNormBack(dx.Matrix(m.Rows, m.Cols), p.paramGrad(op.gamma), p.paramGrad(op.beta), dy.Matrix(), m,
		op.stats.Data, op.gamma.T.Data, acc)
}
