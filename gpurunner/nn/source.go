package nn

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Tensors is a collection of stored tensors: a safetensors file, or several
// under one naming.
type Tensors interface {
	Lookup(name string) (safetensors.Tensor, bool)
}

// FromTensors gives the floating-point tensors of t as weights.
func FromTensors(t Tensors) Source { return tensorSource{t} }

type tensorSource struct{ tensors Tensors }

func (s tensorSource) Weight(name string) (device.HostWeight, bool) {
	t, ok := s.tensors.Lookup(name)
	if !ok {
		return device.HostWeight{}, false
	}
	w := device.HostWeight{Shape: t.Shape, Data: t.Bytes()}
	switch t.DType {
	case safetensors.F32:
		w.Type = device.F32
	case safetensors.F16:
		w.Type = device.F16
	case safetensors.BF16:
		w.Type = device.BF16
	case safetensors.F64:
		values, err := t.Float32()
		if err != nil {
			return device.HostWeight{}, false
		}
		w.Type, w.Data = device.F32, bytesOf(values)
	default:
		return device.HostWeight{}, false
	}
	return w, true
}

// Forget gives back the pages of a weight that has been packed.
func (s tensorSource) Forget(name string) {
	if t, ok := s.tensors.Lookup(name); ok {
		t.Forget()
	}
}

// forgetter is a source whose weights lie in mapped files.
type forgetter interface{ Forget(name string) }

func (l *Loader) forget(path string) {
	if f, ok := l.src.(forgetter); ok {
		f.Forget(path)
	}
}
