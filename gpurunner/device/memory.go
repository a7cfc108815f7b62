package device

import "fmt"

// DType is the type of an element in device memory.
type DType uint8

// The element types. I32 is for token ids and counters.
const (
	F32 DType = iota
	F16
	BF16
	I32
)

// Size returns the size of one element in bytes.
func (t DType) Size() int {
	if t == F16 || t == BF16 {
		return 2
	}
	return 4
}

func (t DType) String() string {
	switch t {
	case F32:
		return "f32"
	case F16:
		return "f16"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	}
	return fmt.Sprintf("DType(%d)", uint8(t))
}

// Buffer is a piece of device memory, opaque above the device.
type Buffer interface {
	// Size is the usable size in bytes, at least what was asked of Alloc.
	Size() int
}

// Array is a run of Len elements of a buffer, starting at element Off.
// The zero Array means "none" where an argument is optional.
type Array struct {
	Buf  Buffer
	Off  int // in elements
	Len  int
	Type DType
}

// None reports whether a is the absent optional argument.
func (a Array) None() bool { return a.Buf == nil }

// Slice returns n elements of a, starting at off.
func (a Array) Slice(off, n int) Array {
	if off < 0 || n < 0 || off+n > a.Len {
		panic(fmt.Sprintf("device: slice [%d:%d] of %d elements", off, off+n, a.Len))
	}
	return Array{Buf: a.Buf, Off: a.Off + off, Len: n, Type: a.Type}
}

// Matrix views a as rows × cols without gaps.
func (a Array) Matrix(rows, cols int) Matrix {
	if rows*cols > a.Len {
		panic(fmt.Sprintf("device: %d elements as a %d×%d matrix", a.Len, rows, cols))
	}
	return Matrix{Array: a, Rows: rows, Cols: cols, Stride: cols}
}

// Matrix is a view of Rows rows of Cols contiguous elements, the starts of
// neighbouring rows Stride elements apart. Array.Off is the first element.
type Matrix struct {
	Array
	Rows, Cols, Stride int
}

// Columns returns the n columns of m that start at column off.
func (m Matrix) Columns(off, n int) Matrix {
	if off < 0 || n < 0 || off+n > m.Cols {
		panic(fmt.Sprintf("device: columns [%d:%d] of %d", off, off+n, m.Cols))
	}
	v := m
	v.Off += off
	v.Len -= off
	v.Cols = n
	return v
}

// RowRange returns the n rows of m that start at row off.
func (m Matrix) RowRange(off, n int) Matrix {
	if off < 0 || n < 0 || off+n > m.Rows {
		panic(fmt.Sprintf("device: rows [%d:%d] of %d", off, off+n, m.Rows))
	}
	v := m
	v.Off += off * m.Stride
	v.Len -= off * m.Stride
	v.Rows = n
	return v
}

// HostWeight is a weight as a file stores it, little endian, row-major.
type HostWeight struct {
	Type  DType
	Shape []int  // [N,K] of a linear layer (out, in), or [O,I,kh,kw] of a convolution
	Data  []byte // may have any alignment
}

// Weight is a linear layer's matrix or a convolution's kernel in the device's
// own layout. It is read-only but for Repack.
type Weight interface {
	// Shape is [N,K] or [O,I,kh,kw], as in HostWeight.
	Shape() []int
	// Size is the resident size in bytes.
	Size() int
}

// Stats counts device memory in bytes.
type Stats struct {
	Live    int64 // held by callers now
	Peak    int64 // the most ever held at once
	Weights int64 // of Live, what weights hold
}
