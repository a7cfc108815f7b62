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

// Mount is a set with the scale at which it applies.
type Mount struct {
	Set *Set
	// Scale multiplies the UNet's adapters.
	Scale float32
	// ScaleText makes Scale multiply the text encoders' adapters as well. The
	// original's hosted inference leaves those at 1 whatever lora_scales says,
	// and so does the zero value.
	ScaleText bool
}

func (m Mount) scale(p Part) float32 {
	if p == UNet || m.ScaleText {
		return m.Scale
	}
	return 1
}

// Mounted is sets in the adapter slots of a loaded model.
type Mounted struct {
	pool    *tensor.Pool
	slots   []**autodiff.Adapter
	stacks  []*autodiff.Value
	kernels []device.Weight
}

// modules maps part.path to the layers of a loaded model.
func modules(u *unet.UNet, encoders []*clip.Encoder) map[string]nn.Module {
	all := map[string]nn.Module{}
	add := func(p Part, list []nn.Module) {
		for _, m := range list {
			all[string(p)+"."+m.Path] = m
		}
	}
	if u != nil {
		add(UNet, u.Modules())
	}
	for i, e := range encoders {
		add(encoderPart(i), e.Modules())
	}
	return all
}

// Attach puts sets into a loaded model's adapter slots, beside each other where
// several adapt the same layer; ranks and targets may differ, and the sum of
// ranks may exceed a layer's width (the original refuses that, because it
// merges the files into one; unmerged it is only more work). The base's weights
// are not touched.
//
// The first call for a set uploads its factors; later ones find them there, see
// Set.Unload. Attach and Release belong outside of autodiff.Run and Record, which
// take back what was allocated in them when they fail. A set that was read
// for another base is a *MismatchError; a slot that is taken is an error.
func Attach(pool *tensor.Pool, u *unet.UNet, encoders []*clip.Encoder, mounts []Mount) (m *Mounted, err error) {
	all := modules(u, encoders)
	type place struct {
		module nn.Module
		layer  *Module
		terms  []term
	}
	var order []*place
	byPath := map[string]*place{}
	for _, mount := range mounts {
		isConv := make([]bool, len(mount.Set.Adapters))
		for i := range mount.Set.Adapters {
			a := &mount.Set.Adapters[i]
			layer, ok := all[a.Module.String()]
			if err := fits(mount.Set, a, layer, ok); err != nil {
				return nil, err
			}
			isConv[i] = layer.Conv != nil
		}
		if err := mount.Set.load(pool, isConv); err != nil {
			return nil, err
		}
		for i := range mount.Set.Adapters {
			a := &mount.Set.Adapters[i]
			name := a.Module.String()
			p := byPath[name]
			if p == nil {
				p = &place{module: all[name], layer: a.Module}
				byPath[name] = p
				order = append(order, p)
			}
			p.terms = append(p.terms, term{mount.Set, i, a.Scale * mount.scale(a.Module.Part)})
		}
	}
	for _, p := range order {
		if *p.module.Slot() != nil {
			return nil, fmt.Errorf("%s carries an adapter already", p.layer)
		}
	}
	m = &Mounted{pool: pool}
	mark := pool.Mark()
	defer func() {
		if err = caught(recover(), err); err != nil {
			m.empty()
			pool.ReleaseSince(mark)
			m = nil
		}
	}()
	for _, p := range order {
		ad, err := m.adapter(p.layer, p.terms)
		if err != nil {
			return m, err
		}
		slot := p.module.Slot()
		*slot = ad
		m.slots = append(m.slots, slot)
	}
	return m, nil
}

// fits checks an adapter against the loaded layer: sets may have been read for
// another base.
func fits(s *Set, a *Adapter, layer nn.Module, ok bool) error {
	if !ok {
		return &MismatchError{File: s.Name, Reason: fmt.Sprintf("the loaded model has no %s", a.Module)}
	}
	in, out, kernel := layer.Size()
	if in != a.Module.In || out != a.Module.Out || max(1, kernel) != max(1, a.Module.Kernel) {
		return &MismatchError{File: s.Name, Reason: fmt.Sprintf("its adapter of %s is for %v, the loaded model's layer is %v",
			a.Module, a.Module.weightShape(), (&Module{In: in, Out: out, Kernel: kernel}).weightShape())}
	}
	return nil
}

func (m *Module) weightShape() []int {
	if m.Kernel > 1 {
		return []int{m.Out, m.In, m.Kernel, m.Kernel}
	}
	return []int{m.Out, m.In}
}

// term is one set's adapter of a layer at its scale.
type term struct {
	set   *Set
	index int
	scale float32
}

func (t term) adapter() *Adapter { return &t.set.Adapters[t.index] }

// adapter is what goes into a layer's slot.
func (m *Mounted) adapter(layer *Module, terms []term) (*autodiff.Adapter, error) {
	if len(terms) == 1 {
		t := terms[0]
		r := t.set.device
		return &autodiff.Adapter{Down: r.down[t.index], Up: r.up[t.index], DownKernel: r.kernels[t.index], Scale: t.scale}, nil
	}
	return m.stack(layer, terms)
}

// stack joins adapters along the rank. The scales go into down, whose rows are
// in one piece.
func (m *Mounted) stack(layer *Module, terms []term) (*autodiff.Adapter, error) {
	dev, total := m.pool.Device, 0
	for _, t := range terms {
		total += t.adapter().Rank
	}
	conv := terms[0].set.device.kernels[terms[0].index] != nil
	ad := &autodiff.Adapter{Up: m.hold(m.pool.New(device.F32, layer.Out, total)), Scale: 1}
	var host []float32
	if !conv {
		ad.Down = m.hold(m.pool.New(device.F32, total, layer.In))
	}
	at := 0
	for _, t := range terms {
		a, r := t.adapter(), t.set.device
		dev.CopyRows(ad.Up.T.Matrix().Columns(at, a.Rank), r.up[t.index].T.Matrix(), 0)
		if conv {
			for _, v := range a.Down {
				host = append(host, v*t.scale)
			}
		} else {
			factor := m.pool.FromFloat32([]float32{t.scale}, 1)
			dev.Combine(ad.Down.T.Data.Slice(at*layer.In, a.Rank*layer.In), factor.Data, r.down[t.index].T.Data)
			factor.Release()
		}
		at += a.Rank
	}
	if conv {
		kernel, err := dev.Freeze(hostKernel(layer, total, host))
		if err != nil {
			return nil, fmt.Errorf("adapters of %s: %w", layer, err)
		}
		m.kernels = append(m.kernels, kernel)
		ad.DownKernel = kernel
	}
	return ad, nil
}

func (m *Mounted) hold(t *tensor.Tensor) *autodiff.Value {
	v := autodiff.Constant(t)
	m.stacks = append(m.stacks, v)
	return v
}

// Release empties the slots and gives back what was made for this mounting; the
// sets' own factors stay on the device. A second Release, and one of nil, does
// nothing.
func (m *Mounted) Release() {
	if m == nil {
		return
	}
	stacks := m.stacks
	m.empty()
	for _, v := range stacks {
		v.Release()
	}
}

// empty is Release without the tensors.
func (m *Mounted) empty() {
	for _, slot := range m.slots {
		*slot = nil
	}
	for _, k := range m.kernels {
		m.pool.Device.Thaw(k)
	}
	m.slots, m.stacks, m.kernels = nil, nil, nil
}
