package cpu

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// weight is a frozen matrix or convolution kernel in panels
// [⌈out/32⌉][taps][in][32] of the type it was stored in; a matrix has one tap.
// Columns past out are zero. It implements device.Weight.
type weight struct {
	shape         []int
	out, in, taps int
	kind          device.DType
	buf           *buffer
	f             []float32 // the panels, if of F32 or of pairs
	h             []uint16  // else

	pairs bool // of the bf16 mode, see shapePairs
	depth int  // then: pairs of a tap
}

// Shape implements device.Weight.
func (w *weight) Shape() []int { return slices.Clone(w.shape) }

// Size implements device.Weight.
func (w *weight) Size() int { return w.buf.Size() }

func (d *Device) weight(op string, w device.Weight) *weight {
	wt, ok := w.(*weight)
	if !ok || wt.buf == nil {
		panic(fmt.Sprintf("cpu: %s: the weight is a %T that this device did not freeze or has thawed", op, w))
	}
	return wt
}

// Freeze implements device.Memory.
func (d *Device) Freeze(h device.HostWeight) (device.Weight, error) {
	w := &weight{shape: slices.Clone(h.Shape), kind: h.Type, taps: 1}
	switch len(h.Shape) {
	case 4:
		w.taps = h.Shape[2] * h.Shape[3]
		fallthrough
	case 2:
		w.out, w.in = h.Shape[0], h.Shape[1]
	default:
		panic(fmt.Sprintf("cpu: Freeze of shape %v; want [N,K] or [O,I,kh,kw]", h.Shape))
	}
	if h.Type == device.I32 || w.out*w.in*w.taps*h.Type.Size() != len(h.Data) {
		panic(fmt.Sprintf("cpu: Freeze of %v %v from %d bytes", h.Type, h.Shape, len(h.Data)))
	}
	n, size := kernel.PanelLen(w.out, w.in*w.taps), h.Type.Size()
	if d.pairs != nil && w.fillsTiles() {
		n, size = w.shapePairs(), 4
	}
	buf, err := d.take(d.frozen, n*size)
	if err != nil {
		return nil, fmt.Errorf("freeze a weight of shape %v: %w", h.Shape, err)
	}
	w.buf = buf
	if size == 4 {
		w.f = floatsOf(buf.mem)[:n]
	} else {
		w.h = unsafe.Slice((*uint16)(unsafe.Pointer(&buf.mem[0])), n)
	}
	if !d.repack(w, h.Data) {
		d.stats.Live -= int64(buf.Size())
		d.frozen.free(buf)
		return nil, d.err
	}
	d.stats.Weights += int64(buf.Size())
	return w, nil
}

// Repack implements device.Memory.
func (d *Device) Repack(w device.Weight, src device.Array) {
	wt := d.weight("Repack", w)
	if wt.kind != device.F32 {
		panic("cpu: Repack of a weight frozen as " + wt.kind.String())
	}
	d.f32n("Repack", "src", src, wt.out*wt.in*wt.taps)
	d.repack(wt, d.bytes("Repack", "src", src))
}

// Thaw implements device.Memory.
func (d *Device) Thaw(w device.Weight) {
	wt := d.weight("Thaw", w)
	size := int64(wt.buf.Size())
	d.stats.Live -= size
	d.stats.Weights -= size
	d.frozen.free(wt.buf)
	wt.buf, wt.f, wt.h = nil, nil, nil
}

// repack fills w from bytes in the order of HostWeight.
func (d *Device) repack(w *weight, data []byte) bool {
	t := &d.tasks.repack
	t.d, t.w, t.data = d, w, data
	if w.out*w.in*w.taps == 0 {
		return true
	}
	if !d.scratch(2*kernel.Panel*kernel.BlockK + kernel.BlockK) {
		return false
	}
	d.fork(t, ceil(w.out, kernel.Panel), moved*4*w.out*w.in*w.taps)
	t.data = nil
	return true
}

// repack is the task of packing; a chunk is a panel.
type repack struct {
	d    *Device
	w    *weight
	data []byte
}

func (t *repack) run(w *worker, j int) {
	// The source may have any alignment, so it goes through scratch; blocks
	// are whole input channels where they fit.
	wt := t.w
	if wt.pairs {
		t.packPairsPanel(w, j)
		return
	}
	k := wt.in * wt.taps
	o0 := j * kernel.Panel
	outs := min(kernel.Panel, wt.out-o0)
	step := min(kernel.BlockK/wt.taps*wt.taps, k)
	if step == 0 {
		step = wt.taps // a kernel of over 512 taps
	}
	if wt.kind == device.F32 {
		packPanel(w.scratch, wt.f[j*k*kernel.Panel:(j+1)*k*kernel.Panel], t.data, wt, t.d.kernels.Transpose, o0, outs, step)
	} else {
		scratch := unsafe.Slice((*uint16)(unsafe.Pointer(&w.scratch[0])), 2*len(w.scratch))
		packPanel(scratch, wt.h[j*k*kernel.Panel:(j+1)*k*kernel.Panel], t.data, wt, t.d.kernels.Transpose16, o0, outs, step)
	}
}

func packPanel[T float32 | uint16](scratch, dst []T, data []byte, w *weight,
	transpose func([]T, int, []T, int, int, int), o0, outs, step int) {
	size := w.kind.Size()
	k := w.in * w.taps
	if step > kernel.BlockK { // cannot go through scratch
		packSlow(dst, data, w, o0, outs)
		return
	}
	if outs < kernel.Panel {
		clear(dst)
	}
	block, turned := scratch[:kernel.Panel*kernel.BlockK], scratch[kernel.Panel*kernel.BlockK:]
	for from := 0; from < k; from += step {
		n := min(step, k-from)
		for o := range outs {
			row := unsafe.Slice((*byte)(unsafe.Pointer(&block[o*n])), n*size)
			copy(row, data[((o0+o)*k+from)*size:])
		}
		if w.taps == 1 {
			transpose(dst[from*kernel.Panel:], kernel.Panel, block, n, outs, n)
			continue
		}
		transpose(turned, kernel.Panel, block, n, outs, n)
		for i := range n / w.taps {
			for t := range w.taps {
				copy(dst[(t*w.in+from/w.taps+i)*kernel.Panel:][:outs], turned[(i*w.taps+t)*kernel.Panel:])
			}
		}
	}
}

func packSlow[T float32 | uint16](dst []T, data []byte, w *weight, o0, outs int) {
	clear(dst)
	size := w.kind.Size()
	var v T
	cell := unsafe.Slice((*byte)(unsafe.Pointer(&v)), size)
	for o := range outs {
		for i := range w.in {
			for t := range w.taps {
				copy(cell, data[(((o0+o)*w.in+i)*w.taps+t)*size:])
				dst[(t*w.in+i)*kernel.Panel+o] = v
			}
		}
	}
}

func (w *weight) btype() kernel.BType {
	switch w.kind {
	case device.F16:
		return kernel.F16
	case device.BF16:
		return kernel.BF16
	}
	return kernel.F32
}

func (w *weight) widenTo(set *kernel.Set, dst []float32, src []uint16) {
	if w.kind == device.F16 {
		set.WidenF16(dst, src)
	} else {
		set.WidenBF16(dst, src)
	}
}

// panel points segs at the pieces of panel j. The pieces of one group follow
// one another in the panel.
func (w *weight) panel(set *kernel.Set, segs []kernel.Segment, pieces []piece, j int, widen bool, scratch []float32) {
	if w.pairs {
		for i, p := range pieces {
			s := &segs[i]
			s.BRow, s.K, s.Type = kernel.Panel, p.k, kernel.F32
			s.B = unsafe.Pointer(&w.f[((j*w.taps+p.tap)*w.depth+p.from)*kernel.Panel])
		}
		return
	}
	base := (j*w.taps*w.in + pieces[0].tap*w.in + pieces[0].from) * kernel.Panel
	total := 0
	for i, p := range pieces {
		s := &segs[i]
		s.BRow, s.K, s.Type = kernel.Panel, p.k, kernel.F32
		switch {
		case w.f != nil:
			s.B = unsafe.Pointer(&w.f[base+total])
		case widen:
			s.B = unsafe.Pointer(&scratch[total])
		default:
			s.B, s.Type = unsafe.Pointer(&w.h[base+total]), w.btype()
		}
		total += p.k * kernel.Panel
	}
	if w.f == nil && widen {
		w.widenTo(set, scratch[:total], w.h[base:base+total])
	}
}

// panelTransposed points segs at panel j of the transposed weight, [out][32]
// per tap for 32 of the input channels.
func (w *weight) panelTransposed(set *kernel.Set, segs []kernel.Segment, pieces []piece, j int, scratch []float32) {
	const full = kernel.BlockK * kernel.Panel
	total := 0
	for i, p := range pieces {
		s := &segs[i]
		s.B, s.BRow, s.K, s.Type = unsafe.Pointer(&scratch[total]), kernel.Panel, p.k, kernel.F32
		w.turnTap(set, scratch[total:], p.tap, j, p.from, p.k, scratch[full:scratchPanel])
		total += p.k * kernel.Panel
	}
}

// turnTap writes rows o0 … o0+k−1 of panel j of the transposed weight's tap to
// dst [k][32]; o0 is a multiple of the width of a panel.
func (w *weight) turnTap(set *kernel.Set, dst []float32, tap, j, o0, k int, scratch []float32) {
	i0 := j * kernel.Panel
	ins := min(kernel.Panel, w.in-i0)
	half := unsafe.Slice((*uint16)(unsafe.Pointer(&scratch[0])), 2*len(scratch))
	for o := 0; o < k; o += kernel.Panel {
		outs := min(kernel.Panel, k-o)
		src := (((o0+o)/kernel.Panel*w.taps+tap)*w.in + i0) * kernel.Panel
		if w.f != nil {
			set.Transpose(dst[o*kernel.Panel:], kernel.Panel, w.f[src:], kernel.Panel, ins, outs)
		} else {
			set.Transpose16(half[o*kernel.Panel:], kernel.Panel, w.h[src:], kernel.Panel, ins, outs)
		}
	}
	if w.f == nil {
		w.widenTo(set, dst[:k*kernel.Panel], half[:k*kernel.Panel])
	}
}
