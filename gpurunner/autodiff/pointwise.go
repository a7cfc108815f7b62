package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

type activate struct {
	y, x  *Value
	f     device.Activation
	saved *tensor.Tensor
}

// Activate computes f(x).
func (p *Pass) Activate(f device.Activation, x *Value) *Value {
	p.check()
	y := p.new(x.T.Shape...)
	p.Device().Activate(f, y.Data, x.T.Data)
	out := &Value{T: y}
	if p.tape != nil && x.needs {
		out.needs = true
		p.record(&activate{y: out, x: x, f: f, saved: x.T.Retain()})
	}
	return out
}

func (op *activate) output() *Value { return op.y }
func (op *activate) release()       { op.saved.Release(); op.saved = nil }

func (op *activate) backward(p *Pass, dy *tensor.Tensor) {
	g, acc := p.gradInto(op.x)
	p.Device().ActivateBack(op.f, g.Data, dy.Data, op.saved.Data, acc)
}

type geglu struct {
	y, x  *Value
	saved *tensor.Tensor
}

// GEGLU computes hidden·GELU(gate) of x [...,2H] = hidden ‖ gate.
func (p *Pass) GEGLU(x *Value) *Value {
	p.check()
	shape := append([]int(nil), x.T.Shape...)
	shape[len(shape)-1] /= 2
	y := p.new(shape...)
	p.Device().GEGLU(y.Matrix(), x.T.Matrix())
	out := &Value{T: y}
	if p.tape != nil && x.needs {
		out.needs = true
		p.record(&geglu{y: out, x: x, saved: x.T.Retain()})
	}
	return out
}

func (op *geglu) output() *Value { return op.y }
func (op *geglu) release()       { op.saved.Release(); op.saved = nil }

func (op *geglu) backward(p *Pass, dy *tensor.Tensor) {
	dx := p.new(op.saved.Shape...)
	p.Device().GEGLUBack(dx.Matrix(), dy.Matrix(), op.saved.Matrix())
	p.giveGrad(op.x, dx)
	dx.Release()
}

type add struct{ y, a, b *Value }

// Add computes a + b.
func (p *Pass) Add(a, b *Value) *Value {
	p.check()
	y := p.new(a.T.Shape...)
	p.Device().Add(y.Data, a.T.Data, b.T.Data)
	out := &Value{T: y}
	if p.tape != nil && (a.needs || b.needs) {
		out.needs = true
		p.record(&add{out, a, b})
	}
	return out
}

func (op *add) output() *Value { return op.y }
func (op *add) release()       {}

func (op *add) backward(p *Pass, dy *tensor.Tensor) {
	for _, v := range []*Value{op.a, op.b} {
		if v.needs {
			p.giveGrad(v, dy)
		}
	}
}

type concat struct{ y, a, b *Value }

// Concat joins a [...,A] and b [...,B] to [...,A+B].
func (p *Pass) Concat(a, b *Value) *Value {
	p.check()
	am, bm := a.T.Matrix(), b.T.Matrix()
	shape := append([]int(nil), a.T.Shape...)
	shape[len(shape)-1] = am.Cols + bm.Cols
	y := p.new(shape...)
	p.Device().CopyRows(y.Matrix().Columns(0, am.Cols), am, 0)
	p.Device().CopyRows(y.Matrix().Columns(am.Cols, bm.Cols), bm, 0)
	out := &Value{T: y}
	if p.tape != nil && (a.needs || b.needs) {
		out.needs = true
		p.record(&concat{out, a, b})
	}
	return out
}

func (op *concat) output() *Value { return op.y }
func (op *concat) release()       {}

func (op *concat) backward(p *Pass, dy *tensor.Tensor) {
	off := 0
	for _, v := range []*Value{op.a, op.b} {
		cols := v.T.Dim(-1)
		if v.needs {
			g, acc := p.gradInto(v)
			dst := g.Matrix()
			p.Device().CopyRows(dst, dy.Matrix().Columns(off, cols), acc)
		}
		off += cols
	}
}

type upsample struct {
	y, x *Value
	g    device.ConvGeom
}

// Upsample stretches x [N,H,W,C] to [N,h,w,C] by nearest neighbour.
func (p *Pass) Upsample(x *Value, h, w int) *Value {
	p.check()
	g := device.ConvGeom{N: x.T.Dim(0), H: x.T.Dim(1), W: x.T.Dim(2), C: x.T.Dim(3), UpH: h, UpW: w}
	y := p.new(g.N, h, w, g.C)
	p.Device().Upsample(y.Data, x.T.Data, g)
	out := &Value{T: y}
	if p.tape != nil && x.needs {
		out.needs = true
		p.record(&upsample{out, x, g})
	}
	return out
}

func (op *upsample) output() *Value { return op.y }
func (op *upsample) release()       {}

func (op *upsample) backward(p *Pass, dy *tensor.Tensor) {
	g, acc := p.gradInto(op.x)
	p.Device().UpsampleBack(g.Data, dy.Data, op.g, acc)
}

// scale multiplies t by s in place.
func (p *Pass) scale(t *tensor.Tensor, s float32) {
	c := p.Pool.FromFloat32([]float32{s}, 1)
	p.Device().Combine(t.Data, c.Data, t.Data)
	c.Release()
}
