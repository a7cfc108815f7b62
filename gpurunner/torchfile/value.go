package torchfile

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// A value is a *Dict, *List, Tuple, *Tensor, *Object, string, int64, float64,
// bool, or nil for None. Big numbers and bytes, of which no tensor is made, are
// nil as well.

// Dict is a dictionary in its order.
type Dict struct{ Keys, Values []any }

// Get returns the value of a text key.
func (d *Dict) Get(key string) (any, bool) {
	for i, k := range d.Keys {
		if k == key {
			return d.Values[i], true
		}
	}
	return nil, false
}

// List is a list.
type List struct{ Items []any }

// Tuple is a tuple.
type Tuple []any

// Object stands for something that only Python could make.
type Object struct {
	Class string // "torch.nn.modules.container.ParameterDict"
	State any    // what it would have been given, nil for nothing
}

// Tensor is a tensor, its elements in row-major order and little-endian.
type Tensor struct {
	DType safetensors.DType
	Shape []int
	Data  []byte
}

// global is a name that the pickle asks Python for.
type global struct{ module, name string }

func (g global) String() string { return g.module + "." + g.name }

// storage is the bytes that tensors are views of.
type storage struct {
	dtype safetensors.DType
	data  []byte
}

var storageTypes = map[string]safetensors.DType{
	"FloatStorage": safetensors.F32, "HalfStorage": safetensors.F16, "BFloat16Storage": safetensors.BF16, "DoubleStorage": safetensors.F64,
	"LongStorage": safetensors.I64, "IntStorage": safetensors.I32, "ShortStorage": safetensors.I16, "CharStorage": safetensors.I8,
	"ByteStorage": safetensors.U8, "BoolStorage": safetensors.Bool,
}

// view makes a tensor of a storage; all numbers are in elements. ok is false
// where they do not fit it.
func (s *storage) view(offset int64, shape, stride []int64) (t *Tensor, ok bool) {
	size := int64(s.dtype.Size())
	have := int64(len(s.data)) / size
	n, last, contiguous := int64(1), offset, true
	out := &Tensor{DType: s.dtype}
	for i := len(shape) - 1; i >= 0; i-- {
		d, st := shape[i], stride[i]
		if d < 0 || d > math.MaxInt32 || st < 0 || d > 1 && st > have {
			return nil, false
		}
		contiguous = contiguous && (st == n || d <= 1)
		if n *= d; n > have { // also what is expanded over more than there is
			return nil, false
		}
		if d > 1 {
			last += (d - 1) * st
		}
	}
	for _, d := range shape {
		out.Shape = append(out.Shape, int(d))
	}
	switch {
	case n == 0:
		return out, true
	case offset < 0 || last < 0 || last >= have:
		return nil, false
	case contiguous:
		out.Data = s.data[offset*size : (offset+n)*size]
		return out, true
	}
	index := make([]int64, len(shape))
	for range n {
		at := offset
		for i, v := range index {
			at += v * stride[i]
		}
		out.Data = append(out.Data, s.data[at*size:(at+1)*size]...)
		for i := len(index) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
	}
	return out, true
}
