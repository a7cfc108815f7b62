package cpu

import (
	"fmt"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Upload implements device.Memory.
func (d *Device) Upload(dst device.Array, host []byte) {
	b := d.bytes("Upload", "dst", dst)
	if len(b) != len(host) {
		badTransfer("Upload", len(host), len(b))
	}
	copy(b, host)
}

// Download implements device.Memory.
func (d *Device) Download(host []byte, src device.Array) {
	b := d.bytes("Download", "src", src)
	if len(b) != len(host) {
		badTransfer("Download", len(host), len(b))
	}
	copy(host, b)
}

// Copy implements device.Memory.
func (d *Device) Copy(dst, src device.Array) {
	if dst.Type != src.Type {
		badType("Copy", "src", src, dst.Type)
	}
	if dst.Len != src.Len {
		badLen("Copy", "src", src, dst.Len)
	}
	copy(d.bytes("Copy", "dst", dst), d.bytes("Copy", "src", src))
}

// Fill implements device.Memory.
func (d *Device) Fill(dst device.Array, v float32) {
	switch dst.Type {
	case device.F32:
		p := d.f32("Fill", "dst", dst)
		if v == 0 {
			clear(p)
			return
		}
		for i := range p {
			p[i] = v
		}
	case device.I32:
		p := d.i32("Fill", "dst", dst)
		for i := range p {
			p[i] = int32(v)
		}
	default:
		var h [1]uint16
		narrow(d.kernels, dst.Type, h[:], []float32{v})
		p := d.halves("Fill", "dst", dst)
		for i := range p {
			p[i] = h[0]
		}
	}
}

// halves finds an array of a 16-bit type.
func (d *Device) halves(op, name string, a device.Array) []uint16 {
	if a.Type != device.F16 && a.Type != device.BF16 {
		badType(op, name, a, device.F16)
	}
	b := d.bytes(op, name, a)
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(b))), a.Len)
}

// cast is the task of Cast. A chunk is a run of mapElements.
type cast struct {
	d        *Device
	from, to device.DType
	f, g     []float32 // source, destination if F32
	h, k     []uint16
	n        int
}

// Cast implements device.Elementwise.
func (d *Device) Cast(dst, src device.Array) {
	if dst.Type == src.Type {
		d.Copy(dst, src)
		return
	}
	if dst.Len != src.Len {
		badLen("Cast", "src", src, dst.Len)
	}
	t := &d.tasks.cast
	*t = cast{d: d, from: src.Type, to: dst.Type, n: dst.Len}
	if src.Type == device.F32 {
		t.f = d.f32("Cast", "src", src)
	} else {
		t.h = d.halves("Cast", "src", src)
	}
	if dst.Type == device.F32 {
		t.g = d.f32("Cast", "dst", dst)
	} else {
		t.k = d.halves("Cast", "dst", dst)
	}
	if t.n > 0 && d.scratch(mapElements) {
		d.fork(t, ceil(t.n, mapElements), moved*t.n)
	}
}

func (t *cast) run(w *worker, chunk int) {
	set := t.d.kernels
	lo := chunk * mapElements
	hi := min(lo+mapElements, t.n)
	wide := w.scratch[:hi-lo]
	if t.g != nil {
		wide = t.g[lo:hi]
	}
	if t.f != nil {
		wide = t.f[lo:hi]
	} else {
		widen(set, t.from, wide, t.h[lo:hi])
	}
	if t.k != nil {
		narrow(set, t.to, t.k[lo:hi], wide)
	}
}

func badTransfer(op string, host, dev int) {
	panic(fmt.Sprintf("cpu: %s: %d bytes on the host, %d on the device", op, host, dev))
}

// failIndex keeps an index out of range, which comes from data, for Sync.
func (d *Device) failIndex(op string, id int32, rows int) {
	d.fail(fmt.Errorf("%s: row %d of a table of %d rows", op, id, rows))
}
