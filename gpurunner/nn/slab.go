package nn

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Slab is the memory of everything under training: one flat array of values,
// and beside it their gradients, so that norm, clipping, optimiser and
// checkpoint are one pass each.
type Slab struct {
	Value, Grad *tensor.Tensor // f32 [n]
	Params      []Param

	repack []repack
}

// Param is a parameter's place in its slab.
type Param struct {
	Name  string
	Shape []int
	Off   int // first element
	Len   int
	V     *autodiff.Value
}

// repack is a packed copy that follows a parameter.
type repack struct {
	packed device.Weight
	master *autodiff.Value
}

// SlabBuilder collects parameters, then allocates them together.
type SlabBuilder struct {
	params []Param
	init   [][]float32
	size   int
	repack []repack
}

// Add appends a parameter. The value that it returns may be put into layers at
// once, but is only usable after Build.
func (b *SlabBuilder) Add(name string, init []float32, shape ...int) *autodiff.Value {
	v := new(autodiff.Value)
	b.params = append(b.params, Param{Name: name, Shape: shape, Off: b.size, Len: len(init), V: v})
	b.init = append(b.init, init)
	b.size += len(init)
	return v
}

// Follow makes Slab.Repack copy master's values into packed.
func (b *SlabBuilder) Follow(packed device.Weight, master *autodiff.Value) { b.onStep(packed, master) }

func (b *SlabBuilder) onStep(packed device.Weight, master *autodiff.Value) {
	b.repack = append(b.repack, repack{packed, master})
}

// Build allocates the slab; gradients start at zero.
func (b *SlabBuilder) Build(pool *tensor.Pool) *Slab {
	s := &Slab{Value: pool.New(device.F32, b.size).Keep(), Grad: pool.Zeros(b.size).Keep(), Params: b.params, repack: b.repack}
	for i, p := range s.Params {
		value := s.Value.Span(p.Off, p.Shape...)
		value.SetFloat32(b.init[i])
		grad := s.Grad.Span(p.Off, p.Shape...)
		*p.V = *autodiff.Parameter(value, grad)
	}
	b.init = nil
	return s
}

// Repack brings the packed copies up to date after the values changed.
func (s *Slab) Repack() {
	for _, r := range s.repack {
		s.Value.Pool().Device.Repack(r.packed, r.master.T.Data)
	}
}

// ZeroGrad clears all gradients.
func (s *Slab) ZeroGrad() {
	if s.Grad.Len() > 0 {
		s.Grad.Pool().Device.Fill(s.Grad.Data, 0)
	}
}

// Release gives back the slab. The parameters must not be used again.
func (s *Slab) Release() {
	for _, p := range s.Params {
		p.V.T.Release()
		p.V.Grad().Release()
	}
	s.Value.Release()
	s.Grad.Release()
}
