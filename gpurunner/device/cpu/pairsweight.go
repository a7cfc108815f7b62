package cpu

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// In the bf16 mode a weight's panels are [⌈out/32⌉][taps][depth][32] pairs of
// input channels, rounded once when it is frozen. Weights of few channels, such
// as a network's first and last convolution, stay in float32 and so do their
// products: they leave tiles empty, and rounding them costs the most.

// fillsTiles says whether a weight is kept in pairs.
func (w *weight) fillsTiles() bool { return min(w.in, w.out) >= gatherBelow }

// shapePairs sets the layout of w's panels and returns their number of pairs.
func (w *weight) shapePairs() int {
	w.pairs = true
	w.depth = pairsOf(w.in)
	return roundUp(w.out, kernel.Panel) * w.taps * w.depth
}

// packPairsPanel writes panel j from bytes in the order of HostWeight.
func (t *repack) packPairsPanel(w *worker, j int) {
	wt, set := t.w, t.d.kernels
	size := wt.taps * wt.depth * kernel.Panel
	dst := wt.f[j*size:][:size]
	o0 := j * kernel.Panel
	outs := min(kernel.Panel, wt.out-o0)
	clear(dst)
	channels := kernel.BlockK / wt.taps &^ 1
	if channels < 2 { // a kernel of over 256 taps
		t.packPairsSlowly(dst, o0, outs)
		return
	}
	// Rows of a block of channels, turned; then neighbours are zipped.
	const full = kernel.Panel * kernel.BlockK
	block, turned, spare := w.scratch[:full], w.scratch[full:2*full], w.scratch[2*full:]
	clear(turned)
	elem := wt.kind.Size()
	row := wt.in * wt.taps
	for c := 0; c < wt.in; c += channels {
		count := min(channels, wt.in-c)
		n := count * wt.taps
		for o := range outs {
			src := t.data[((o0+o)*row+c*wt.taps)*elem:][:n*elem]
			switch wt.kind {
			case device.F32:
				copy(bytesOf(block[o*n:][:n]), src)
			case device.BF16:
				copy(unsafe.Slice((*byte)(unsafe.Pointer(&halves(block)[o*n])), n*2), src)
			case device.F16:
				h := halves(spare)[:n]
				copy(unsafe.Slice((*byte)(unsafe.Pointer(&h[0])), n*2), src)
				set.WidenF16(block[o*n:][:n], h)
			}
		}
		if wt.kind == device.BF16 {
			set.Transpose16(halves(turned), kernel.Panel, halves(block), n, outs, n)
		} else {
			set.Transpose(turned, kernel.Panel, block, n, outs, n)
		}
		zero := spare[:kernel.Panel]
		clear(zero)
		for i := 0; i < count; i += 2 {
			for tap := range wt.taps {
				to := dst[(tap*wt.depth+(c+i)/2)*kernel.Panel:][:outs]
				a, b := (i*wt.taps+tap)*kernel.Panel, ((i+1)*wt.taps+tap)*kernel.Panel
				if wt.kind == device.BF16 {
					second := halves(zero)
					if i+1 < count {
						second = halves(turned)[b:]
					}
					set.Zip16(to, halves(turned)[a:], second)
					continue
				}
				second := zero
				if i+1 < count {
					second = turned[b:]
				}
				set.ZipBF16(to, turned[a:], second)
			}
		}
	}
}

func (t *repack) packPairsSlowly(dst []float32, o0, outs int) {
	w, h := t.w, halves(dst)
	for o := range outs {
		for i := range w.in {
			for tap := range w.taps {
				h[2*((tap*w.depth+i/2)*kernel.Panel+o)+i&1] = t.bf16At(((o0+o)*w.in+i)*w.taps + tap)
			}
		}
	}
}

// bf16At is element i of the data, rounded.
func (t *repack) bf16At(i int) uint16 {
	var wide, narrow [1]float32
	var half [1]uint16
	switch t.w.kind {
	case device.BF16:
		return binary.LittleEndian.Uint16(t.data[2*i:])
	case device.F16:
		half[0] = binary.LittleEndian.Uint16(t.data[2*i:])
		t.d.kernels.WidenF16(wide[:], half[:])
	default:
		wide[0] = math.Float32frombits(binary.LittleEndian.Uint32(t.data[4*i:]))
	}
	narrowRow(t.d.kernels, narrow[:], wide[:])
	return halves(narrow[:])[0]
}

// turnPairs is the task of transposing a weight's panels for backward: those of
// a weight with inputs and outputs exchanged, taps in their places. A chunk is
// a panel of inputs at one tap.
type turnPairs struct {
	d        *Device
	from, to *weight
}

// turned returns w transposed, in memory that the caller releases; nil after a
// failure.
func (d *Device) turned(w *weight) *weight {
	t := &d.tasks.turnPairs
	*t = turnPairs{d: d, from: w, to: &d.turnedWeight}
	*t.to = weight{out: w.in, in: w.out, taps: w.taps, kind: device.BF16, pairs: true, depth: pairsOf(w.out)}
	n := roundUp(w.in, kernel.Panel) * w.taps * t.to.depth
	buf, f := d.temp(max(1, n))
	if buf == nil {
		return nil
	}
	t.to.buf, t.to.f = buf, f
	if d.scratch(kernel.Panel * kernel.PairStep) {
		d.fork(t, ceil(w.in, kernel.Panel)*w.taps, moved*2*n)
	}
	return t.to
}

func (t *turnPairs) run(w *worker, chunk int) {
	src, to, set := t.from, t.to, t.d.kernels
	j, tap := chunk/src.taps, chunk%src.taps
	dst := to.f[chunk*to.depth*kernel.Panel:][:to.depth*kernel.Panel]
	ins := min(kernel.Panel, src.in-j*kernel.Panel)
	if ins < kernel.Panel {
		clear(dst)
	}
	rows := halves(w.scratch[:kernel.Panel*kernel.PairStep]) // [32 outputs][32 inputs]
	for o := 0; o < src.out; o += kernel.Panel {
		block := src.f[((o/kernel.Panel*src.taps+tap)*src.depth+j*kernel.PairStep)*kernel.Panel:]
		set.Transpose(w.scratch, kernel.PairStep, block, kernel.Panel, kernel.PairStep, kernel.Panel)
		for i := range kernel.Panel / 2 {
			set.Zip16(dst[(o/2+i)*kernel.Panel:][:ins], rows[2*i*kernel.Panel:], rows[(2*i+1)*kernel.Panel:])
		}
	}
}
