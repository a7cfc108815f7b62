package cpu

import (
	"fmt"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// matrix is a device.Matrix of f32 whose memory has been found and checked.
// Row r is p[r·stride:][:cols].
type matrix struct {
	p                  []float32
	rows, cols, stride int
}

func (m matrix) row(r int) []float32 { return m.p[r*m.stride:][:m.cols:m.cols] }

// none reports whether m is an absent optional argument.
func (m matrix) none() bool { return m.p == nil }

// bytes finds the memory of a and checks its bounds.
func (d *Device) bytes(op, name string, a device.Array) []byte {
	b, ok := a.Buf.(*buffer)
	if !ok || !b.live {
		badBuffer(op, name, a)
	}
	size := a.Type.Size()
	lo, hi := a.Off*size, (a.Off+a.Len)*size
	if a.Off < 0 || a.Len < 0 || hi > len(b.mem) {
		badRange(op, name, a)
	}
	return b.mem[lo:hi:hi]
}

// f32 is bytes for an array of floats.
func (d *Device) f32(op, name string, a device.Array) []float32 {
	if a.Type != device.F32 {
		badType(op, name, a, device.F32)
	}
	b := d.bytes(op, name, a)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), a.Len)
}

// f32n is f32 for an array of exactly n elements.
func (d *Device) f32n(op, name string, a device.Array, n int) []float32 {
	if a.Len != n {
		badLen(op, name, a, n)
	}
	return d.f32(op, name, a)
}

// optional is f32n, or nil where a is none.
func (d *Device) optional(op, name string, a device.Array, n int) []float32 {
	if a.Buf == nil {
		return nil
	}
	return d.f32n(op, name, a, n)
}

func (d *Device) i32(op, name string, a device.Array) []int32 {
	if a.Type != device.I32 {
		badType(op, name, a, device.I32)
	}
	b := d.bytes(op, name, a)
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(b))), a.Len)
}

// mat finds a matrix of f32.
func (d *Device) mat(op, name string, m device.Matrix) matrix {
	span := checkMatrix(op, name, m)
	m.Len = span
	return matrix{p: d.f32(op, name, m.Array), rows: m.Rows, cols: m.Cols, stride: m.Stride}
}

// matOf is mat for a matrix of exactly rows × cols.
func (d *Device) matOf(op, name string, m device.Matrix, rows, cols int) matrix {
	if m.Rows != rows || m.Cols != cols {
		badShape(op, name, m, rows, cols)
	}
	return d.mat(op, name, m)
}

// checkMatrix returns how many elements m spans.
func checkMatrix(op, name string, m device.Matrix) int {
	if m.Rows <= 0 || m.Cols <= 0 {
		if m.Rows < 0 || m.Cols < 0 {
			badMatrix(op, name, m)
		}
		return 0
	}
	span := (m.Rows-1)*m.Stride + m.Cols
	if m.Stride < m.Cols && m.Rows > 1 || span > m.Len {
		badMatrix(op, name, m)
	}
	return span
}

func badBuffer(op, name string, a device.Array) {
	if b, ok := a.Buf.(*buffer); ok && !b.live {
		panic(fmt.Sprintf("cpu: %s: %s lies in a buffer that was released", op, name))
	}
	panic(fmt.Sprintf("cpu: %s: %s lies in a %T, not in this device's memory", op, name, a.Buf))
}

func badRange(op, name string, a device.Array) {
	panic(fmt.Sprintf("cpu: %s: %s is elements [%d:%d] of type %v in a buffer of %d bytes",
		op, name, a.Off, a.Off+a.Len, a.Type, a.Buf.Size()))
}

func badType(op, name string, a device.Array, want device.DType) {
	panic(fmt.Sprintf("cpu: %s: %s is of type %v, want %v", op, name, a.Type, want))
}

func badLen(op, name string, a device.Array, want int) {
	panic(fmt.Sprintf("cpu: %s: %s has %d elements, want %d", op, name, a.Len, want))
}

func badMatrix(op, name string, m device.Matrix) {
	panic(fmt.Sprintf("cpu: %s: %s is a %d×%d matrix with rows %d apart over %d elements",
		op, name, m.Rows, m.Cols, m.Stride, m.Len))
}

func badShape(op, name string, m device.Matrix, rows, cols int) {
	panic(fmt.Sprintf("cpu: %s: %s is %d×%d, want %d×%d", op, name, m.Rows, m.Cols, rows, cols))
}

func badRows(op string, rows, perImage int) {
	panic(fmt.Sprintf("cpu: %s: %d rows of %d an image", op, rows, perImage))
}

func badTerm(op string, from, rows, all int) {
	panic(fmt.Sprintf("cpu: %s: a low-rank term of rows %d to %d of %d", op, from, from+rows-1, all))
}

func badKernel(op string, w *weight) {
	panic(fmt.Sprintf("cpu: %s: a weight of shape %v", op, w.shape))
}

func badProbability(op string, p float32) {
	panic(fmt.Sprintf("cpu: %s: dropout with probability %v, want 0 up to below 1", op, p))
}

func badActivation(op string, f device.Activation) {
	panic(fmt.Sprintf("cpu: %s: unknown activation %d", op, f))
}

func badGeometry(op string, g any, why string) {
	panic(fmt.Sprintf("cpu: %s: %s: %+v", op, why, g))
}
