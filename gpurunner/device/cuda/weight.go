//go:build cuda

package cuda

import (
	"fmt"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// weight is a frozen matrix [out,in], or a convolution's kernel
// [out,taps,in], row-major, in the type it was stored in, or, where products run
// on tensor cores, in theirs. It implements device.Weight.
type weight struct {
	shape         []int
	out, in, taps int
	kind          device.DType
	frozen        device.DType // what it was stored in
	buf           *buffer
}

// Shape implements device.Weight.
func (w *weight) Shape() []int { return slices.Clone(w.shape) }

// Size implements device.Weight.
func (w *weight) Size() int { return w.buf.size }

func (w *weight) elements() int { return w.out * w.in * w.taps }

func (d *Device) weight(op string, w device.Weight) *weight {
	wt, ok := w.(*weight)
	if !ok || wt.buf == nil {
		panic(fmt.Sprintf("cuda: %s: the weight is a %T that this device did not freeze or has thawed", op, w))
	}
	return wt
}

// matrixWeight is weight for a matrix, which may be a kernel of one position.
func (d *Device) matrixWeight(op string, w device.Weight) *weight {
	wt := d.weight(op, w)
	if wt.taps != 1 {
		panic(fmt.Sprintf("cuda: %s: a weight of shape %v", op, wt.shape))
	}
	return wt
}

// Freeze implements device.Memory.
func (d *Device) Freeze(h device.HostWeight) (device.Weight, error) {
	w := &weight{shape: slices.Clone(h.Shape), kind: h.Type, frozen: h.Type, taps: 1}
	if d.tensorCores() {
		w.kind = d.options.Precision
	}
	switch len(h.Shape) {
	case 4:
		w.taps = h.Shape[2] * h.Shape[3]
		fallthrough
	case 2:
		w.out, w.in = h.Shape[0], h.Shape[1]
	default:
		panic(fmt.Sprintf("cuda: Freeze of shape %v; want [N,K] or [O,I,kh,kw]", h.Shape))
	}
	if h.Type == device.I32 || w.elements()*h.Type.Size() != len(h.Data) {
		panic(fmt.Sprintf("cuda: Freeze of %v %v from %d bytes", h.Type, h.Shape, len(h.Data)))
	}
	buf, err := d.take(d.frozen, w.elements()*w.kind.Size())
	if err != nil {
		return nil, fmt.Errorf("freeze a weight of shape %v: %w", h.Shape, err)
	}
	w.buf = buf
	d.stats.Weights += int64(buf.size)
	if err := d.fillWeight(w, h.Data); err != nil {
		d.Thaw(w)
		return nil, fmt.Errorf("freeze a weight of shape %v: %w", h.Shape, err)
	}
	return w, nil
}

// fillWeight uploads a weight's bytes and brings them into its type and order.
func (d *Device) fillWeight(w *weight, data []byte) error {
	if d.err != nil {
		return d.err
	}
	d.flush() // what waits may use the memory
	if w.taps == 1 && w.kind == w.frozen {
		return d.stage.up(&d.driver, w.buf.address, data)
	}
	raw, err := d.take(d.memory, len(data))
	if err != nil {
		return err
	}
	defer d.Release(raw)
	if err := d.stage.up(&d.driver, raw.address, data); err != nil {
		return err
	}
	d.arrange(w, raw.address)
	return d.err
}

// arrange brings elements in a file's type and order into w's.
func (d *Device) arrange(w *weight, from uint64) {
	n := w.elements()
	if w.kind != w.frozen {
		to := w.buf.address
		if w.taps > 1 {
			temp := d.temp(n * w.kind.Size())
			if temp == nil {
				return
			}
			defer d.Release(temp)
			to = temp.address
		}
		d.launch(fmt.Sprintf("cast_%v_%v", w.kind, w.frozen), line(n, 256), 256, address(to), address(from), count(n))
		from = to
	}
	switch {
	case w.taps > 1:
		d.launch(fmt.Sprintf("pack_%d", 8*w.kind.Size()), line(n, 256), 256,
			address(w.buf.address), address(from), whole(w.out), whole(w.in), whole(w.taps))
	case from != w.buf.address:
		d.copyBytes(w.buf.address, from, n*w.kind.Size())
	}
}

// Repack implements device.Memory.
func (d *Device) Repack(w device.Weight, src device.Array) {
	wt := d.weight("Repack", w)
	if wt.frozen != device.F32 {
		panic("cuda: Repack of a weight frozen as " + wt.frozen.String())
	}
	d.arrange(wt, d.f32n("Repack", "src", src, wt.elements()))
}

// Thaw implements device.Memory.
func (d *Device) Thaw(w device.Weight) {
	wt := d.weight("Thaw", w)
	d.stats.Live -= int64(wt.buf.size)
	d.stats.Weights -= int64(wt.buf.size)
	d.frozen.release(wt.buf)
	wt.buf = nil
}
