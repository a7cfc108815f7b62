package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Value is a tensor in a computation: a constant, a parameter or the result of
// an operation.
type Value struct {
	T *tensor.Tensor

	needs bool
	grad  *tensor.Tensor // so far; nil for none
	fixed bool           // grad is memory of a parameter: always added to
	base  *Value         // of a view: the value that owns the gradient
}

// Constant wraps t, which needs no gradient. The value takes over the caller's
// hold on t.
func Constant(t *tensor.Tensor) *Value { return &Value{T: t} }

// Parameter wraps t, which is trained: backward passes add to grad, of as many
// elements. Both stay the caller's; Release on a parameter gives up the hold on
// t.
func Parameter(t, grad *tensor.Tensor) *Value {
	if t.Len() != grad.Len() {
		panic("autodiff: parameter and gradient of different sizes")
	}
	return &Value{T: t, needs: true, grad: grad, fixed: true}
}

// Leaf wraps t, whose gradient is wanted once: see Grad. The value takes over
// the caller's hold on t.
func Leaf(t *tensor.Tensor) *Value { return &Value{T: t, needs: true} }

// NeedsGrad reports whether backward passes compute v's gradient.
func (v *Value) NeedsGrad() bool { return v != nil && v.needs }

// Grad returns the gradient of a leaf or parameter after Backward, nil if none
// arrived. It stays v's.
func (v *Value) Grad() *tensor.Tensor { return v.root().grad }

// DropGrad releases the gradient of a leaf.
func (v *Value) DropGrad() {
	if r := v.root(); r.grad != nil && !r.fixed {
		r.grad.Release()
		r.grad = nil
	}
}

// Shape returns the shape of the tensor.
func (v *Value) Shape() []int { return v.T.Shape }

// Release gives up the caller's hold. Releasing nil does nothing.
func (v *Value) Release() {
	if v != nil {
		v.T.Release()
	}
}

// Retain adds a hold and returns v.
func (v *Value) Retain() *Value { v.T.Retain(); return v }

func (v *Value) root() *Value {
	if v.base != nil {
		return v.base
	}
	return v
}

// Reshape returns a view of v in another shape; gradients flow through it.
func (p *Pass) Reshape(v *Value, shape ...int) *Value {
	return &Value{T: v.T.Reshape(shape...), needs: v.needs, base: v.root()}
}

// gradInto returns the memory into which a contribution to v's gradient goes,
// and the factor of what is there already: 0 for the first, 1 for later ones.
func (p *Pass) gradInto(v *Value) (g *tensor.Tensor, acc float32) {
	r := v.root()
	switch {
	case r.grad == nil:
		r.grad = p.new(r.T.Shape...)
		return r.grad, 0
	case r.fixed:
		return r.grad, 1
	case r.grad.Shared():
		// Another value received the same buffer (see giveGrad).
		own := r.grad.Clone()
		r.grad.Release()
		r.grad = own
	}
	return r.grad, 1
}

// giveGrad adds g to v's gradient; where it is the first contribution v takes
// a hold on g instead of copying it.
func (p *Pass) giveGrad(v *Value, g *tensor.Tensor) {
	r := v.root()
	if r.grad == nil {
		r.grad = g.Retain()
		return
	}
	into, _ := p.gradInto(v)
	p.Device().Add(into.Data, into.Data, g.Data)
}
