package lora

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
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

// Mounted is sets for the adapter slots of a loaded model.
type Mounted struct {
	slots    []**autodiff.Adapter
	adapters []*autodiff.Adapter // one a slot
	joint    *joint
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

// place is a layer with the terms that meet there.
type place struct {
	module nn.Module
	layer  *Module
	terms  []term
}

// term is one set's adapter of a layer at its scale.
type term struct {
	set   *Set
	index int
	scale float32
}

func (t term) adapter() *Adapter { return &t.set.Adapters[t.index] }

// Attach puts sets into a loaded model's adapter slots, beside each other where
// several adapt the same layer; ranks and targets may differ, and the sum of
// ranks may exceed a layer's width (the original refuses that, because it
// merges the files into one; unmerged it is only more work). The base's weights
// are not touched.
//
// The first call for a set uploads its factors, and the first call for several
// sets at their scales joins them; later calls find both there, until
// Set.Unload, also when an autodiff.Run around the call fails. A set that was
// read for another base is a *MismatchError; a slot that is taken is an error.
func Attach(pool *tensor.Pool, u *unet.UNet, encoders []*clip.Encoder, mounts []Mount) (*Mounted, error) {
	places, err := meet(pool, modules(u, encoders), mounts)
	if err != nil {
		return nil, err
	}
	m := &Mounted{}
	if len(mounts) > 1 {
		if m.joint, err = join(pool, mounts, places); err != nil {
			return nil, err
		}
	}
	for _, p := range places {
		ad := new(autodiff.Adapter)
		if len(p.terms) == 1 {
			t, r := p.terms[0], p.terms[0].set.device
			*ad = autodiff.Adapter{Down: r.down[t.index], Up: r.up[t.index], DownKernel: r.kernels[t.index], Scale: t.scale}
		} else {
			*ad = m.joint.adapters[p.layer.String()]
		}
		m.slots = append(m.slots, p.module.Slot())
		m.adapters = append(m.adapters, ad)
	}
	m.On()
	return m, nil
}

// meet loads the sets and sorts their adapters by layer, in order of appearance.
func meet(pool *tensor.Pool, all map[string]nn.Module, mounts []Mount) ([]*place, error) {
	var order []*place
	byPath := map[string]*place{}
	for _, mount := range mounts {
		isConv := make([]bool, len(mount.Set.Adapters))
		for i := range mount.Set.Adapters {
			a := &mount.Set.Adapters[i]
			name := a.Module.String()
			layer, ok := all[name]
			if err := fits(mount.Set, a, layer, ok); err != nil {
				return nil, err
			}
			if *layer.Slot() != nil {
				return nil, fmt.Errorf("%s carries an adapter already", name)
			}
			isConv[i] = layer.Conv != nil
			p := byPath[name]
			if p == nil {
				p = &place{module: layer, layer: a.Module}
				byPath[name] = p
				order = append(order, p)
			}
			p.terms = append(p.terms, term{mount.Set, i, a.Scale * mount.scale(a.Module.Part)})
		}
		if err := mount.Set.load(pool, isConv); err != nil {
			return nil, err
		}
	}
	return order, nil
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

// Release empties the slots. What is on the device stays there, until the sets
// are unloaded. A second Release, and one of nil, does nothing.
func (m *Mounted) Release() {
	if m == nil {
		return
	}
	m.Off()
	if m.joint != nil {
		m.joint.mounted--
	}
	m.slots, m.adapters, m.joint = nil, nil, nil
}
