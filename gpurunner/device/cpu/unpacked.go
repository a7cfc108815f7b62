package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// unpack is the task of widening all panels of a small matrix, or of transposing
// them for backward, once: else each block of rows would do it again. A chunk is
// a panel.
type unpack struct {
	d         *Device
	from, to  *weight
	transpose bool
	pieces    []piece // of the transposed matrix's k
}

// unpacked returns w in f32 panels, of the transposed matrix if asked, in memory
// that the caller releases; nil after a failure.
func (d *Device) unpacked(w *weight, transpose bool, pieces []piece) *weight {
	t := &d.tasks.unpack
	*t = unpack{d: d, from: w, to: &d.unpackedWeight, transpose: transpose, pieces: pieces}
	*t.to = *w
	if transpose {
		t.to.out, t.to.in = w.in, w.out
	}
	n := kernel.PanelLen(t.to.out, t.to.in)
	buf, f := d.temp(n)
	if buf == nil {
		return nil
	}
	t.to.buf, t.to.f, t.to.h, t.to.kind = buf, f, nil, device.F32
	cost := moved * 2 * n
	if transpose {
		cost *= 2
	}
	if d.scratch(scratchPanel) {
		d.fork(t, ceil(t.to.out, kernel.Panel), cost)
	}
	return t.to
}

func (t *unpack) run(w *worker, j int) {
	size := t.to.in * kernel.Panel
	dst := t.to.f[j*size:][:size]
	if !t.transpose {
		t.from.widenTo(t.d.kernels, dst, t.from.h[j*size:][:size])
		return
	}
	for _, p := range t.pieces {
		t.from.turnTap(t.d.kernels, dst[p.from*kernel.Panel:], 0, j, p.from, p.k, w.scratch)
	}
}
