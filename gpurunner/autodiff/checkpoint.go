package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Segment is a part of a model that Checkpoint may run twice. It must compute
// the same from the same inputs, and release what it made but its result.
type Segment func(p *Pass, in []*Value) *Value

type checkpoint struct {
	y     *Value
	in    []*Value
	saved []*tensor.Tensor
	f     Segment
}

// Checkpoint runs f. On a recording pass with Options.Checkpoint it keeps only
// the inputs and runs f again, recorded, when gradients come back (Chen et
// al. 2016, "Training Deep Nets with Sublinear Memory Cost"). Inputs may be
// nil.
func (p *Pass) Checkpoint(f Segment, in ...*Value) *Value {
	if p.tape == nil || !p.tape.checkpoint {
		return f(p, in)
	}
	y := f(&Pass{Pool: p.Pool, Tap: p.Tap, ctx: p.ctx}, in)
	// Whether f holds parameters is not known here, so the result needs a
	// gradient; a segment of frozen layers before the first adapter should
	// not be checkpointed.
	out := &Value{T: y.T, needs: true}
	op := &checkpoint{y: out, in: in, f: f}
	for _, v := range in {
		var t *tensor.Tensor
		if v != nil {
			t = v.T.Retain()
		}
		op.saved = append(op.saved, t)
	}
	p.record(op)
	return out
}

func (op *checkpoint) output() *Value { return op.y }

func (op *checkpoint) release() {
	for i, t := range op.saved {
		t.Release()
		op.saved[i] = nil
	}
}

func (op *checkpoint) backward(p *Pass, dy *tensor.Tensor) {
	again := &Pass{Pool: p.Pool, ctx: p.ctx, tape: &tape{}}
	leaves := make([]*Value, len(op.in))
	for i, v := range op.in {
		if v != nil {
			// The segment goes on with the gradient that its input has by now,
			// so that sums are taken in the order of a tape without segments.
			r := v.root()
			leaves[i] = &Value{T: op.saved[i], needs: v.needs, grad: r.grad, fixed: r.fixed}
			r.grad = nil
		}
	}
	y := op.f(again, leaves)
	if y.needs {
		again.giveGrad(y, dy)
		again.Backward()
	}
	y.Release()
	again.dropTape()
	for i, v := range op.in {
		if v != nil {
			v.root().grad = leaves[i].grad
		}
	}
}
