//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// matrix is a device.Matrix whose memory has been found and checked.
type matrix struct {
	p                  uint64 // 0: an absent optional argument
	rows, cols, stride int
}

// place finds the memory of a and checks its bounds.
func (d *Device) place(op, name string, a device.Array) uint64 {
	b, ok := a.Buf.(*buffer)
	if !ok || !b.live {
		badBuffer(op, name, a)
	}
	size := a.Type.Size()
	if a.Off < 0 || a.Len < 0 || (a.Off+a.Len)*size > b.size {
		panic(fmt.Sprintf("cuda: %s: %s is elements [%d:%d] of type %v in a buffer of %d bytes", op, name, a.Off, a.Off+a.Len, a.Type, b.size))
	}
	return b.address + uint64(a.Off*size)
}

// f32 is place for an array of floats.
func (d *Device) f32(op, name string, a device.Array) uint64 {
	if a.Type != device.F32 {
		badType(op, name, a, device.F32)
	}
	return d.place(op, name, a)
}

// f32n is f32 for an array of exactly n elements.
func (d *Device) f32n(op, name string, a device.Array, n int) uint64 {
	if a.Len != n {
		badLen(op, name, a, n)
	}
	return d.f32(op, name, a)
}

// optional is f32n, or 0 where a is none.
func (d *Device) optional(op, name string, a device.Array, n int) uint64 {
	if a.None() {
		return 0
	}
	return d.f32n(op, name, a, n)
}

func (d *Device) i32(op, name string, a device.Array) uint64 {
	if a.Type != device.I32 {
		badType(op, name, a, device.I32)
	}
	return d.place(op, name, a)
}

// mat finds a matrix of f32.
func (d *Device) mat(op, name string, m device.Matrix) matrix {
	m.Len = checkMatrix(op, name, m)
	return matrix{p: d.f32(op, name, m.Array), rows: m.Rows, cols: m.Cols, stride: m.Stride}
}

// matOf is mat for a matrix of exactly rows × cols.
func (d *Device) matOf(op, name string, m device.Matrix, rows, cols int) matrix {
	if m.Rows != rows || m.Cols != cols {
		panic(fmt.Sprintf("cuda: %s: %s is %d×%d, want %d×%d", op, name, m.Rows, m.Cols, rows, cols))
	}
	return d.mat(op, name, m)
}

// checkMatrix returns how many elements m spans.
func checkMatrix(op, name string, m device.Matrix) int {
	if m.Rows < 0 || m.Cols < 0 {
		badMatrix(op, name, m)
	}
	if m.Rows == 0 || m.Cols == 0 {
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
		panic(fmt.Sprintf("cuda: %s: %s lies in a buffer that was released", op, name))
	}
	panic(fmt.Sprintf("cuda: %s: %s lies in a %T, not in this device's memory", op, name, a.Buf))
}

func badType(op, name string, a device.Array, want device.DType) {
	panic(fmt.Sprintf("cuda: %s: %s is of type %v, want %v", op, name, a.Type, want))
}

func badLen(op, name string, a device.Array, want int) {
	panic(fmt.Sprintf("cuda: %s: %s has %d elements, want %d", op, name, a.Len, want))
}

func badMatrix(op, name string, m device.Matrix) {
	panic(fmt.Sprintf("cuda: %s: %s is a %d×%d matrix with rows %d apart over %d elements", op, name, m.Rows, m.Cols, m.Stride, m.Len))
}

func badRows(op string, rows, perImage int) {
	panic(fmt.Sprintf("cuda: %s: %d rows of %d an image", op, rows, perImage))
}

func badGeometry(op string, g any, why string) {
	panic(fmt.Sprintf("cuda: %s: %s: %+v", op, why, g))
}
