package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

type conv struct {
	y, x, bias *Value
	w          Weight
	ad         *Adapter
	g          device.ConvGeom
	f          Fused
	saved, h   *tensor.Tensor
}

// Conv convolves x [N,H,W,C] with W [O,C,kh,kw] to [N,OutH,OutW,O]. Of g only
// Stride, paddings and the upsampling target are read; the rest comes from the
// arguments. An adapter's down factor has the kernel's size and stride, its up
// factor is 1×1.
func (p *Pass) Conv(x *Value, w Weight, bias *Value, ad *Adapter, g device.ConvGeom, f Fused) *Value {
	p.check()
	ws := w.Packed.Shape()
	mustShape("convolution's picture", x.T.Shape, x.T.Dim(0), x.T.Dim(1), x.T.Dim(2), ws[1])
	g.N, g.H, g.W, g.C = x.T.Dim(0), x.T.Dim(1), x.T.Dim(2), x.T.Dim(3)
	g.O, g.KH, g.KW = ws[0], ws[2], ws[3]
	rows := g.N * g.OutH() * g.OutW()
	y := p.new(g.N, g.OutH(), g.OutW(), g.O)
	epi := f.epilogue(bias, rows, g.O)

	if ad != nil && ad.Shares != nil { // see Linear
		from, to := g.H*g.W*g.C, g.OutH()*g.OutW()
		ad.shares(p, g.N, func(first, n int, ad *Adapter) {
			g := g
			g.N = n
			p.conv(y.Data.Slice(first*to*g.O, n*to*g.O), x.T.Data.Slice(first*from, n*from), w, ad, g, rowsOf(epi, first*to, n*to)).Release()
		})
		return &Value{T: y}
	}
	h := p.conv(y.Data, x.T.Data, w, ad, g, epi)

	out := &Value{T: y}
	if p.tape != nil && (x.needs || bias.NeedsGrad() || w.Master.NeedsGrad() || ad.trained() || f.needs()) {
		f.mustRecord()
		out.needs = true
		op := &conv{y: out, x: x, w: w, bias: bias, ad: ad, g: g, f: f}
		if w.Master.NeedsGrad() || ad.trained() {
			op.saved = x.T.Retain()
		}
		if ad.trained() {
			op.h = h.Retain()
		}
		p.record(op)
	}
	h.Release()
	return out
}

// conv computes y = epi(conv(x, W) + the adapter's term) over whole pictures and
// returns the term's scaled activations [N·OutH·OutW, r], nil without one.
func (p *Pass) conv(y, x device.Array, w Weight, ad *Adapter, g device.ConvGeom, epi device.Epilogue) (h *tensor.Tensor) {
	dev := p.Device()
	var low []device.Low
	if ad != nil {
		r := ad.Up.T.Dim(1)
		h = p.new(g.N*g.OutH()*g.OutW(), r)
		dev.Conv(h.Data, x, ad.DownKernel, g.WithOutputs(r), nil, device.Epilogue{})
		if ad.Scale != 1 {
			p.scale(h, ad.Scale)
		}
		if ad.Drop.P == 0 {
			low = []device.Low{{H: h.Matrix(), Up: ad.Up.T.Matrix()}}
		}
	}
	dev.Conv(y, x, w.Packed, g, low, epi)
	if ad != nil && ad.Drop.P > 0 {
		dev.MatMul(y.Matrix(g.N*g.OutH()*g.OutW(), g.O), h.Matrix(), ad.Up.T.Matrix(), false, true, 1, device.Epilogue{Drop: ad.Drop, Beta: 1})
	}
	return h
}

func (op *conv) output() *Value { return op.y }

func (op *conv) release() {
	op.saved.Release()
	op.h.Release()
	op.saved, op.h = nil, nil
}

func (op *conv) backward(p *Pass, dy *tensor.Tensor) {
	dev := p.Device()
	dym := dy.Matrix()
	op.f.backward(p, dy, op.bias, dym)
	if op.w.Master.NeedsGrad() {
		g, acc := p.gradInto(op.w.Master)
		dev.ConvWeightGrad(g.Data, op.saved.Data, dy.Data, op.g, acc)
	}
	var dh *tensor.Tensor
	if op.ad != nil && (op.ad.trained() || op.x.needs) {
		dh = op.ad.backward(p, dym, op.h)
		defer dh.Release()
		if op.ad.Down.NeedsGrad() {
			g, acc := p.gradInto(op.ad.Down)
			dev.ConvWeightGrad(g.Data, op.saved.Data, dh.Data, op.g.WithOutputs(dh.Dim(1)), acc)
		}
	}
	if op.x.needs {
		g, acc := p.gradInto(op.x)
		dev.ConvBack(g.Data, dy.Data, op.w.Packed, op.g, acc)
		if dh != nil {
			dev.ConvBack(g.Data, dh.Data, op.ad.DownKernel, op.g.WithOutputs(dh.Dim(1)), 1)
		}
	}
}
