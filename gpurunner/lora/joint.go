package lora

import (
	"fmt"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// joint is several sets at their scales, stacked where they adapt the same layer.
// It belongs to the first set, and stays between calls.
type joint struct {
	pool     *tensor.Pool
	mounts   []Mount
	mounted  int                         // how often it is in use
	adapters map[string]autodiff.Adapter // by part.path
	stacks   []*autodiff.Value
	kernels  []device.Weight
}

// maxJoints is how many a set keeps beside those in use.
const maxJoints = 4

// join finds or makes the joint of mounts, whose sets are loaded, and counts it
// as mounted.
func join(pool *tensor.Pool, mounts []Mount, places []*place) (*joint, error) {
	first := mounts[0].Set.device
	for i, j := range first.joints {
		if slices.Equal(j.mounts, mounts) {
			first.joints = append([]*joint{j}, slices.Delete(first.joints, i, i+1)...)
			j.mounted++
			return j, nil
		}
	}
	j, err := newJoint(pool, mounts, places)
	if err != nil {
		return nil, err
	}
	kept := []*joint{j}
	for _, old := range first.joints {
		if len(kept) < maxJoints || old.mounted > 0 {
			kept = append(kept, old)
		} else {
			old.release()
		}
	}
	first.joints = kept
	j.mounted++
	return j, nil
}

func newJoint(pool *tensor.Pool, mounts []Mount, places []*place) (j *joint, err error) {
	j = &joint{pool: pool, mounts: slices.Clone(mounts), adapters: map[string]autodiff.Adapter{}}
	mark := pool.Mark()
	defer func() {
		if err = caught(recover(), err); err != nil {
			j.stacks = nil // go back with all the rest
			j.release()
			pool.ReleaseSince(mark)
		}
	}()
	places = slices.DeleteFunc(slices.Clone(places), func(p *place) bool { return len(p.terms) < 2 })
	if len(places) == 0 {
		return j, nil
	}
	// One piece of memory and one upload for all layers.
	size := 0
	var scales []float32
	for _, p := range places {
		up, down := p.sizes()
		size += up + down
		for _, t := range p.terms {
			scales = append(scales, t.scale)
		}
	}
	all := pool.New(device.F32, size)
	defer all.Release()
	factors := pool.FromFloat32(scales, len(scales))
	defer factors.Release()
	at, next := 0, 0
	for _, p := range places {
		up, down := p.sizes()
		ad, err := j.stack(p, all, at, factors.Data.Slice(next, len(p.terms)))
		if err != nil {
			return j, err
		}
		at, next = at+up+down, next+len(p.terms)
		j.adapters[p.layer.String()] = ad
	}
	all.Keep()
	return j, nil
}

// convolves reports whether the layer takes a packed kernel.
func (p *place) convolves() bool { return p.module.Conv != nil }

func (p *place) rank() (total int) {
	for _, t := range p.terms {
		total += t.adapter().Rank
	}
	return total
}

// sizes are the numbers of elements of the stacked factors; a convolution's
// down is not among them.
func (p *place) sizes() (up, down int) {
	if !p.convolves() {
		down = p.rank() * p.layer.In
	}
	return p.rank() * p.layer.Out, down
}

// stack joins adapters along the rank, in the memory of all from at on. The
// scales go into down, whose rows are in one piece.
func (j *joint) stack(p *place, all *tensor.Tensor, at int, factors device.Array) (ad autodiff.Adapter, err error) {
	dev, layer, total := j.pool.Device, p.layer, p.rank()
	ad = autodiff.Adapter{Up: j.hold(all.Span(at, layer.Out, total)), Scale: 1}
	up, _ := p.sizes()
	if !p.convolves() {
		ad.Down = j.hold(all.Span(at+up, total, layer.In))
	}
	var host []float32
	row := 0
	for i, t := range p.terms {
		a, r := t.adapter(), t.set.device
		dev.CopyRows(ad.Up.T.Matrix().Columns(row, a.Rank), r.up[t.index].T.Matrix(), 0)
		if p.convolves() {
			for _, v := range a.Down {
				host = append(host, v*t.scale)
			}
		} else {
			dev.Combine(ad.Down.T.Data.Slice(row*layer.In, a.Rank*layer.In), factors.Slice(i, 1), r.down[t.index].T.Data)
		}
		row += a.Rank
	}
	if p.convolves() {
		kernel, err := dev.Freeze(hostKernel(layer, total, host))
		if err != nil {
			return ad, fmt.Errorf("adapters of %s: %w", layer, err)
		}
		j.kernels = append(j.kernels, kernel)
		ad.DownKernel = kernel
	}
	return ad, nil
}

func (j *joint) hold(t *tensor.Tensor) *autodiff.Value {
	v := autodiff.Constant(t)
	j.stacks = append(j.stacks, v)
	return v
}

func (j *joint) release() {
	for _, v := range j.stacks {
		v.Release()
	}
	for _, k := range j.kernels {
		j.pool.Device.Thaw(k)
	}
	j.stacks, j.kernels = nil, nil
}
