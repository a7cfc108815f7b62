package tensor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Tensor is a contiguous, row-major array on a device.
type Tensor struct {
	Shape []int
	Data  device.Array

	store *storage
}

// Len is the number of elements.
func (t *Tensor) Len() int { return t.Data.Len }

// Dim returns dimension i; negative i counts from the end.
func (t *Tensor) Dim(i int) int {
	if i < 0 {
		i += len(t.Shape)
	}
	return t.Shape[i]
}

// Pool returns the pool that t came from.
func (t *Tensor) Pool() *Pool { return t.store.pool }

// Matrix views t as rows of its last dimension.
func (t *Tensor) Matrix() device.Matrix {
	cols := t.Shape[len(t.Shape)-1]
	if cols == 0 {
		return t.Data.Matrix(0, 0)
	}
	return t.Data.Matrix(t.Data.Len/cols, cols)
}

// Retain adds a holder and returns t.
func (t *Tensor) Retain() *Tensor { t.store.refs++; return t }

// Release gives up one hold; the last one returns the memory. Releasing nil
// does nothing.
func (t *Tensor) Release() {
	if t == nil {
		return
	}
	s := t.store
	if s.buf == nil && s.undone {
		return
	}
	s.refs--
	switch {
	case s.refs == 0:
		s.free()
	case s.refs < 0:
		panic("tensor: released more often than held")
	}
}

// Keep exempts t's memory from ReleaseSince: weights and caches that outlive
// the work in which they were first needed. It returns t.
func (t *Tensor) Keep() *Tensor { t.store.kept = true; return t }

// Shared reports whether others hold t's memory too.
func (t *Tensor) Shared() bool { return t.store.refs > 1 }

// Reshape returns a view of t, with a hold of its own, in another shape of as
// many elements. One dimension may be -1.
func (t *Tensor) Reshape(shape ...int) *Tensor {
	s := append([]int(nil), shape...)
	n, free := 1, -1
	for i, d := range s {
		if d == -1 {
			free = i
			continue
		}
		n *= d
	}
	if free >= 0 && n > 0 {
		s[free] = t.Data.Len / n
		n *= s[free]
	}
	if n != t.Data.Len {
		panic(fmt.Sprintf("tensor: shape %v of %d elements as %v", t.Shape, t.Data.Len, shape))
	}
	t.store.refs++
	return &Tensor{Shape: s, Data: t.Data, store: t.store}
}

// Slice returns a view, with a hold of its own, of n entries of the first
// dimension, starting at off.
func (t *Tensor) Slice(off, n int) *Tensor {
	row := 1
	for _, d := range t.Shape[1:] {
		row *= d
	}
	s := append([]int{n}, t.Shape[1:]...)
	t.store.refs++
	return &Tensor{Shape: s, Data: t.Data.Slice(off*row, n*row), store: t.store}
}

// Span returns a view, with a hold of its own, of n elements starting at off,
// in the given shape.
func (t *Tensor) Span(off int, shape ...int) *Tensor {
	t.store.refs++
	return &Tensor{Shape: append([]int(nil), shape...), Data: t.Data.Slice(off, elements(shape)), store: t.store}
}

// Zeros returns an f32 tensor of zeros.
func (p *Pool) Zeros(shape ...int) *Tensor {
	t := p.New(device.F32, shape...)
	if t.Data.Len > 0 {
		p.Device.Fill(t.Data, 0)
	}
	return t
}

// FromFloat32 uploads values as an f32 tensor.
func (p *Pool) FromFloat32(values []float32, shape ...int) *Tensor {
	t := p.New(device.F32, shape...)
	t.SetFloat32(values)
	return t
}

// FromInt32 uploads values as an i32 tensor.
func (p *Pool) FromInt32(values []int32, shape ...int) *Tensor {
	t := p.New(device.I32, shape...)
	host := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(host[4*i:], uint32(v))
	}
	p.Device.Upload(t.Data, host)
	return t
}

// SetFloat32 uploads values into an f32 tensor of as many elements.
func (t *Tensor) SetFloat32(values []float32) {
	if t.Data.Type != device.F32 || len(values) != t.Data.Len {
		panic(fmt.Sprintf("tensor: %d float32 values into %s %v", len(values), t.Data.Type, t.Shape))
	}
	host := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(host[4*i:], math.Float32bits(v))
	}
	t.store.pool.Device.Upload(t.Data, host)
}

// Float32 downloads an f32 tensor.
func (t *Tensor) Float32() []float32 {
	if t.Data.Type != device.F32 {
		panic(fmt.Sprintf("tensor: Float32 of %s", t.Data.Type))
	}
	host := make([]byte, 4*t.Data.Len)
	t.store.pool.Device.Download(host, t.Data)
	values := make([]float32, t.Data.Len)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(host[4*i:]))
	}
	return values
}

// Clone returns a copy of t in memory of its own.
func (t *Tensor) Clone() *Tensor {
	c := t.store.pool.New(t.Data.Type, t.Shape...)
	t.store.pool.Device.Copy(c.Data, t.Data)
	return c
}
