package lora

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// resident is a set's factors on a device, in the order of Set.Adapters. They
// stay between calls, so that mounting a set again moves nothing.
type resident struct {
	pool     *tensor.Pool
	down, up []*autodiff.Value // down is nil for convolutions
	kernels  []device.Weight   // nil for linear layers
	// joints are what was made of this set and others mounted behind it, the
	// one used last first.
	joints []*joint
}

// load brings the set's factors onto the device, unless they are there. isConv
// tells, for each adapter, whether the layer takes a packed kernel.
func (s *Set) load(pool *tensor.Pool, isConv []bool) (err error) {
	if s.device != nil && s.device.pool == pool {
		return nil
	}
	s.Unload()
	mark := pool.Mark()
	r := &resident{pool: pool}
	defer func() {
		err = caught(recover(), err)
		if err != nil {
			r.thaw()
			pool.ReleaseSince(mark)
		}
	}()
	for i := range s.Adapters {
		a := &s.Adapters[i]
		var down *autodiff.Value
		var kernel device.Weight
		if isConv[i] {
			if kernel, err = pool.Device.Freeze(hostKernel(a.Module, a.Rank, a.Down)); err != nil {
				return fmt.Errorf("%s: adapter of %s: %w", s.Name, a.Module, err)
			}
		} else {
			down = autodiff.Constant(pool.FromFloat32(a.Down, a.Rank, a.Module.In))
		}
		r.kernels = append(r.kernels, kernel)
		r.down = append(r.down, down)
		r.up = append(r.up, autodiff.Constant(pool.FromFloat32(a.Up, a.Module.Out, a.Rank)))
	}
	for _, v := range slices.Concat(r.down, r.up) {
		if v != nil {
			v.T.Keep()
		}
	}
	s.device = r
	return nil
}

// Unload gives back the device memory of the set's factors, and of what was
// joined for mounting it in front of others. The set must not be mounted.
func (s *Set) Unload() {
	r := s.device
	if r == nil {
		return
	}
	for _, v := range slices.Concat(r.down, r.up) {
		v.Release()
	}
	r.thaw()
	for _, j := range r.joints {
		j.release()
	}
	s.device = nil
}

func (r *resident) thaw() {
	for _, k := range r.kernels {
		if k != nil {
			r.pool.Device.Thaw(k)
		}
	}
	r.kernels = nil
}

func hostKernel(m *Module, rank int, down []float32) device.HostWeight {
	k := max(1, m.Kernel)
	return device.HostWeight{Type: device.F32, Shape: []int{rank, m.In, k, k}, Data: half.AppendF32(nil, down)}
}

// caught turns a failed allocation's panic into an error.
func caught(r any, err error) error {
	switch r := r.(type) {
	case nil:
		return err
	case tensor.Failure:
		return errors.Join(err, r.Err)
	}
	panic(r)
}
