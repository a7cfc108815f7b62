package lora

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// TrainOptions say what a training adapts.
type TrainOptions struct {
	Base    *Base
	Rank    int
	Targets Targets
	// Scale multiplies the adapters in training, and is folded into up on
	// export; 0 means 1.
	Scale float32
	// Init fills a fresh down factor, [Rank,In] or [Rank,In,k,k], of which the
	// original draws every element from N(0, 1/Rank²). index counts the layers
	// through all parts.
	Init func(index int, m *Module, down []float32)
	// Drop is the dropout of layer index, which sits on up's output.
	Drop func(index int, m *Module) device.Dropout
}

// Trainable is fresh adapters in the slots of a loaded model, their factors
// parameters of a slab.
type Trainable struct {
	options  TrainOptions
	pool     *tensor.Pool
	adapters []trained
}

type trained struct {
	module   *Module
	slot     **autodiff.Adapter
	down, up *autodiff.Value
	kernel   device.Weight // nil for linear layers
	drop     device.Dropout
}

// NewTrainable fills the slots of the layers that o names with new adapters: up
// zero, down from o.Init. Their factors become parameters of slab, which is
// usable once it is built, in the original's order: the UNet's layers, then
// those of the given text encoders (u may be nil, and encoders empty or have
// nil in them, for parts that are not trained), each up, then down. Packed
// copies of convolutions' down factors follow the slab on Repack.
//
// It refuses what [Base.CheckRank] refuses.
func NewTrainable(pool *tensor.Pool, slab *nn.SlabBuilder, u *unet.UNet, encoders []*clip.Encoder, o TrainOptions) (*Trainable, error) {
	if o.Scale == 0 {
		o.Scale = 1
	}
	t := &Trainable{options: o, pool: pool}
	place := func(p Part, list []nn.Module) error {
		if err := o.Base.CheckRank(p, o.Targets, o.Rank); err != nil {
			return err
		}
		layers := map[string]nn.Module{}
		for _, m := range list {
			layers[m.Path] = m
		}
		for _, m := range o.Base.Targets(p, o.Targets) {
			layer, ok := layers[m.Path]
			switch {
			case !ok:
				return fmt.Errorf("the loaded model has no %s", m)
			case *layer.Slot() != nil:
				return fmt.Errorf("%s carries an adapter already", m)
			}
			if err := t.add(slab, m, layer); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if u != nil {
		err = place(UNet, u.Modules())
	}
	for i, e := range encoders {
		if e != nil && err == nil {
			err = place(encoderPart(i), e.Modules())
		}
	}
	if err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}

// CheckRank refuses a rank that a part's layers cannot have: one above the
// smaller side of a layer, as the original does.
func (b *Base) CheckRank(p Part, targets Targets, rank int) error {
	if rank < 1 {
		return fmt.Errorf("the LoRA's rank is %d, it must be at least 1", rank)
	}
	var narrow *Module
	for _, m := range b.Targets(p, targets) {
		if narrow == nil || min(m.In, m.Out) < min(narrow.In, narrow.Out) {
			narrow = m
		}
	}
	if narrow != nil && rank > min(narrow.In, narrow.Out) {
		return fmt.Errorf("the LoRA's rank is %d, but %s has %d inputs and %d outputs: take a rank of at most %d", rank, narrow, narrow.In, narrow.Out, min(narrow.In, narrow.Out))
	}
	return nil
}

func (t *Trainable) add(slab *nn.SlabBuilder, m *Module, layer nn.Module) error {
	o, index := t.options, len(t.adapters)
	down := make([]float32, o.Rank*m.inputs())
	o.Init(index, m, down)
	shape := []int{o.Rank, m.In}
	a := trained{module: m, slot: layer.Slot()}
	if layer.Conv != nil {
		shape = append(shape, m.Kernel, m.Kernel)
		kernel, err := t.pool.Device.Freeze(hostKernel(m, o.Rank, down))
		if err != nil {
			return fmt.Errorf("adapter of %s: %w", m, err)
		}
		a.kernel = kernel
	}
	a.up = slab.Add(m.String()+".up", make([]float32, m.Out*o.Rank), m.Out, o.Rank)
	a.down = slab.Add(m.String()+".down", down, shape...)
	if a.kernel != nil {
		slab.Follow(a.kernel, a.down)
	}
	if o.Drop != nil {
		a.drop = o.Drop(index, m)
	}
	*a.slot = &autodiff.Adapter{Down: a.down, Up: a.up, DownKernel: a.kernel, Scale: o.Scale, Drop: a.drop}
	t.adapters = append(t.adapters, a)
	return nil
}

// Training switches dropout on and off; it starts on. Pictures are drawn with
// it off.
func (t *Trainable) Training(on bool) {
	for _, a := range t.adapters {
		(*a.slot).Drop = device.Dropout{}
		if on {
			(*a.slot).Drop = a.drop
		}
	}
}

// Len is the number of adapters.
func (t *Trainable) Len() int { return len(t.adapters) }

// Span tells where the parameters of a part lie in the slab: n elements from off
// on, none where the part is not trained.
func (t *Trainable) Span(slab *nn.Slab, p Part) (off, n int) {
	own := map[*autodiff.Value]bool{}
	for _, a := range t.adapters {
		if a.module.Part == p {
			own[a.up], own[a.down] = true, true
		}
	}
	for _, param := range slab.Params {
		if own[param.V] {
			if n == 0 {
				off = param.Off
			}
			n += param.Len
		}
	}
	return off, n
}

// Export copies the factors as they are now, with the training's scale folded
// into up, as cloneofsimo/lora writes it since 0.1.3. The slab must have been
// built.
func (t *Trainable) Export(name string, tokens []Token) *Set {
	s := &Set{Name: name, Base: t.options.Base, Tokens: sortedTokens(tokens)}
	for _, a := range t.adapters {
		up := a.up.T.Float32()
		for i := range up {
			up[i] *= t.options.Scale
		}
		s.Adapters = append(s.Adapters, Adapter{Module: a.module, Rank: t.options.Rank, Down: a.down.T.Float32(), Up: up, Scale: 1})
	}
	s.sort()
	return s
}

// Release empties the slots. The factors belong to the slab.
func (t *Trainable) Release() {
	for _, a := range t.adapters {
		*a.slot = nil
		if a.kernel != nil {
			t.pool.Device.Thaw(a.kernel)
		}
	}
	t.adapters = nil
}
