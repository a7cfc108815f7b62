package autodiff

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Weight is the matrix of a linear layer or the kernel of a convolution.
type Weight struct {
	Packed device.Weight
	// Master is the f32 [N,K] or [O,I,kh,kw] parameter that Packed was made
	// of, where it is trained; nil where it is frozen.
	Master *Value
}

// Adapter is a low-rank term beside a weight: scale·up·(down·x).
type Adapter struct {
	// Down is [r,K]; Up is [N,r]. Several adapters at once are stacked along
	// r, their scales multiplied into Up.
	Down, Up *Value
	// DownKernel holds Down [r,I,kh,kw] packed, for convolutions only.
	DownKernel device.Weight
	Scale      float32
	Drop       device.Dropout // of the term, in training

	// Shares, where it is not nil, stands for all of the above: the samples of a
	// batch belong to several, in this order. Passes without a tape only.
	Shares []Share
}

// Share is a run of a batch's samples with an adapter of their own, or none.
type Share struct {
	Samples int
	Adapter *Adapter
}

func (a *Adapter) trained() bool { return a != nil && (a.Down.NeedsGrad() || a.Up.NeedsGrad()) }

// shares calls f for each run of the n samples that have one adapter.
func (a *Adapter) shares(p *Pass, n int, f func(first, samples int, ad *Adapter)) {
	if p.tape != nil {
		panic("autodiff: several users' adapters where gradients are recorded")
	}
	first := 0
	for _, s := range a.Shares {
		f(first, s.Samples, s.Adapter)
		first += s.Samples
	}
	if first != n {
		panic(fmt.Sprintf("autodiff: adapters for %d samples, not %d", first, n))
	}
}

// rowsOf is an epilogue for n of its rows.
func rowsOf(e device.Epilogue, first, n int) device.Epilogue {
	if !e.RowVector.None() {
		e.RowVector = e.RowVector.RowRange(first/e.RowsPerImage, n/e.RowsPerImage)
	}
	if !e.Residual.None() {
		e.Residual = e.Residual.RowRange(first, n)
	}
	return e
}

// Fused is what a product adds before its result is stored.
type Fused struct {
	Act          device.Activation // not where a gradient is needed
	RowVector    *Value            // [images, N], added to each image's rows
	RowsPerImage int
	Residual     *Value // as many elements as the result
}

type linear struct {
	y, x, bias *Value
	w          Weight
	ad         *Adapter
	f          Fused
	saved      *tensor.Tensor // x, where a weight or adapter is trained
	h          *tensor.Tensor // x·downᵀ
}

// Linear computes x·Wᵀ + bias, plus the adapter's term: x [...,K] → [...,N].
// bias and ad may be nil.
func (p *Pass) Linear(x *Value, w Weight, bias *Value, ad *Adapter, f Fused) *Value {
	p.check()
	n := w.Packed.Shape()[0]
	xm := x.T.Matrix()
	shape := append(append([]int(nil), x.T.Shape[:len(x.T.Shape)-1]...), n)
	y := p.new(shape...)
	epi := f.epilogue(bias, xm.Rows, n)

	if ad != nil && ad.Shares != nil {
		p.linearShares(y.Matrix(), xm, w, ad, x.T.Dim(0), epi)
		return &Value{T: y}
	}
	h := p.linear(y.Matrix(), xm, w, ad, epi)

	out := &Value{T: y}
	if p.tape != nil && (x.needs || bias.NeedsGrad() || w.Master.NeedsGrad() || ad.trained() || f.needs()) {
		f.mustRecord()
		out.needs = true
		op := &linear{y: out, x: x, w: w, bias: bias, ad: ad, f: f}
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

// linearShares is linear for a batch of samples with adapters of their own: one
// product, each of its terms for its own samples' rows.
func (p *Pass) linearShares(y, x device.Matrix, w Weight, ad *Adapter, samples int, epi device.Epilogue) {
	per := x.Rows / samples
	var low []device.Low
	var hs []*tensor.Tensor
	ad.shares(p, samples, func(first, n int, ad *Adapter) {
		if ad == nil {
			return
		}
		h := p.activations(x.RowRange(first*per, n*per), ad)
		hs = append(hs, h)
		low = append(low, device.Low{H: h.Matrix(), Up: ad.Up.T.Matrix(), From: first * per})
	})
	p.Device().Linear(y, x, w.Packed, low, epi)
	for _, h := range hs {
		h.Release()
	}
}

// activations are scale·x·downᵀ [M,r] of x [M,K].
func (p *Pass) activations(x device.Matrix, ad *Adapter) *tensor.Tensor {
	mustShape("adapter down", ad.Down.T.Shape, ad.Down.T.Dim(0), x.Cols)
	h := p.new(x.Rows, ad.Down.T.Dim(0))
	p.Device().MatMul(h.Matrix(), x, ad.Down.T.Matrix(), false, true, ad.Scale, device.Epilogue{})
	return h
}

// linear computes y [M,N] = epi(x [M,K]·Wᵀ + the adapter's term) and returns the
// term's scaled activations [M,r], nil without one.
func (p *Pass) linear(y, xm device.Matrix, w Weight, ad *Adapter, epi device.Epilogue) (h *tensor.Tensor) {
	dev := p.Device()
	var low []device.Low
	if ad != nil {
		h = p.activations(xm, ad)
		if ad.Drop.P == 0 {
			low = []device.Low{{H: h.Matrix(), Up: ad.Up.T.Matrix()}}
		}
	}
	dev.Linear(y, xm, w.Packed, low, epi)
	if ad != nil && ad.Drop.P > 0 {
		// Dropout sits on the term alone, so it cannot be a segment of the
		// base product.
		dev.MatMul(y, h.Matrix(), ad.Up.T.Matrix(), false, true, 1, device.Epilogue{Drop: ad.Drop, Beta: 1})
	}
	return h
}

func (op *linear) output() *Value { return op.y }

func (op *linear) release() {
	op.saved.Release()
	op.h.Release()
	op.saved, op.h = nil, nil
}

func (op *linear) backward(p *Pass, dy *tensor.Tensor) {
	dev := p.Device()
	dym := dy.Matrix()
	op.f.backward(p, dy, op.bias, dym)
	if op.w.Master.NeedsGrad() {
		g, acc := p.gradInto(op.w.Master)
		dev.MatMul(g.Data.Matrix(dym.Cols, op.saved.Dim(-1)), dym, op.saved.Matrix(), true, false, 1, device.Epilogue{Beta: acc})
	}
	var low []device.Low
	if op.ad != nil && (op.ad.trained() || op.x.needs) {
		dh := op.ad.backward(p, dym, op.h)
		defer dh.Release()
		if op.ad.Down.NeedsGrad() {
			g, acc := p.gradInto(op.ad.Down)
			dev.MatMul(g.Data.Matrix(dh.Dim(1), op.saved.Dim(-1)), dh.Matrix(), op.saved.Matrix(), true, false, 1, device.Epilogue{Beta: acc})
		}
		low = []device.Low{{H: dh.Matrix(), Up: op.ad.Down.T.Matrix()}}
	}
	if op.x.needs {
		g, acc := p.gradInto(op.x)
		dev.LinearBack(g.Data.Matrix(dym.Rows, op.w.Packed.Shape()[1]), dym, op.w.Packed, low, acc)
	}
}

// backward adds to up's gradient and returns the gradient of the low-rank
// activations before scaling, dh [M,r] = scale·mask(dy)·up. h holds the scaled
// activations.
func (a *Adapter) backward(p *Pass, dy device.Matrix, h *tensor.Tensor) *tensor.Tensor {
	dev := p.Device()
	if a.Drop.P > 0 {
		masked := p.new(dy.Rows, dy.Cols)
		defer masked.Release()
		dev.DropoutMask(masked.Matrix(), dy, a.Drop)
		dy = masked.Matrix()
	}
	if a.Up.NeedsGrad() {
		g, acc := p.gradInto(a.Up)
		dev.MatMul(g.Data.Matrix(dy.Cols, h.Dim(-1)), dy, h.Matrix(), true, false, 1, device.Epilogue{Beta: acc})
	}
	dh := p.new(dy.Rows, a.Up.T.Dim(1))
	dev.MatMul(dh.Matrix(), dy, a.Up.T.Matrix(), false, false, a.Scale, device.Epilogue{})
	return dh
}

func (f Fused) epilogue(bias *Value, rows, n int) device.Epilogue {
	e := device.Epilogue{Act: f.Act}
	if bias != nil {
		e.Bias = bias.T.Data
	}
	if f.RowVector != nil {
		e.RowVector = f.RowVector.T.Matrix()
		e.RowsPerImage = f.RowsPerImage
	}
	if f.Residual != nil {
		e.Residual = f.Residual.T.Data.Matrix(rows, n)
	}
	return e
}

func (f Fused) needs() bool { return f.RowVector.NeedsGrad() || f.Residual.NeedsGrad() }

func (f Fused) mustRecord() {
	if f.Act != device.Identity {
		panic("autodiff: a fused activation where a gradient is needed; use Activate")
	}
}

// backward sends dy to what was added to the product.
func (f Fused) backward(p *Pass, dy *tensor.Tensor, bias *Value, dym device.Matrix) {
	if f.Residual.NeedsGrad() {
		p.giveGrad(f.Residual, dy)
	}
	if f.RowVector.NeedsGrad() {
		g, acc := p.gradInto(f.RowVector)
		p.Device().ColumnSum(g.Data.Matrix(dym.Rows/f.RowsPerImage, dym.Cols), dym, f.RowsPerImage, acc)
	}
	if bias.NeedsGrad() {
		g, acc := p.gradInto(bias)
		p.Device().ColumnSum(g.Data.Matrix(1, dym.Cols), dym, dym.Rows, acc)
	}
}
