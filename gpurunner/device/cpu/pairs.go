package cpu

import (
	"fmt"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// The bf16 mode: both operands of a product are rounded to bf16 where they
// enter it, and laid out as pairs of neighbouring k (see kernel.Pairs), so that
// a row of K elements is a row of K/2 pairs that the rest of this package
// treats like K/2 float32. Rows are padded with zeros to whole steps.
//
// How a product is cut does not show in its bits: a chain goes on from the sums
// in C.

// NoBF16 says why a processor cannot run the bf16 mode.
const NoBF16 = "this processor has neither AMX nor AVX512-BF16; use --precision f32, or auto, which takes f32 here"

// BF16Sets lists the ways in which this machine multiplies bf16, slowest first;
// none where it has no instructions for it. LOWRANK_CPU lowers the choice.
func BF16Sets() (names []string) {
	for _, p := range kernel.PairSets() {
		names = append(names, p.Name)
	}
	return names
}

// EmulatedBF16Sets lists the same in Go, slow and for tests on any machine.
func EmulatedBF16Sets() (names []string) {
	for _, p := range kernel.EmulatedPairs() {
		names = append(names, p.Name)
	}
	return names
}

// pairsFor finds the implementation that options ask for, nil for float32.
func pairsFor(o Options) (*kernel.Pairs, error) {
	switch o.Precision {
	case device.F32:
		return nil, nil
	case device.BF16:
	default:
		return nil, fmt.Errorf("cpu: precision %v; it must be f32 or bf16", o.Precision)
	}
	p := kernel.LookupPairs(o.BF16)
	if p == nil && o.BF16 == "" {
		return nil, fmt.Errorf("cpu: precision bf16: %s", NoBF16)
	}
	if p == nil {
		return nil, fmt.Errorf("cpu: no products of bf16 named %q on this machine; it has %v", o.BF16, BF16Sets())
	}
	return p, nil
}

// pairsOf is how many pairs k terms take.
func pairsOf(k int) int { return roundUp(k, 2*kernel.PairStep) / 2 }

// pairBlock is the most pairs of a group: half a panel's worth of the first
// cache, so that a group's part of a panel stays there for all rows.
const pairBlock = 256

// halves views pairs as their elements.
func halves(f []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(f))), 2*len(f))
}

// narrowRow writes src, rounded, to the pairs of dst and clears the rest.
func narrowRow(set *kernel.Set, dst, src []float32) {
	h := halves(dst)
	set.NarrowBF16(h[:len(src)], src)
	clear(h[len(src):])
}

// layout is how pairPack arranges a live operand.
type layout uint8

const (
	rowsOfA    layout = iota // [M,K] as it is: rows of pairs
	columnsOfA               // [K,M]: rows of pairs of the transpose
	rowsOfB                  // [K,N]: panels
	columnsOfB               // [N,K]: panels of the transpose
)

// pairPack is the task of bringing a live operand into pairs: 32 rows of A, or
// one panel, a chunk.
type pairPack struct {
	d   *Device
	dst []float32
	src matrix
	to  layout
	k   int
}

// rows is how many of M or N there are.
func (t *pairPack) rows() int {
	if t.to == rowsOfA || t.to == columnsOfB {
		return t.src.rows
	}
	return t.src.cols
}

// packPairs returns src in pairs, in memory that the caller releases; nil
// after a failure.
func (d *Device) packPairs(src matrix, to layout) (*buffer, []float32) {
	t := &d.tasks.pairPack
	*t = pairPack{d: d, src: src, to: to, k: src.cols}
	if to == columnsOfA || to == rowsOfB {
		t.k = src.rows
	}
	n := max(1, roundUp(t.rows(), kernel.Panel)*pairsOf(t.k))
	buf, dst := d.temp(n)
	if buf == nil {
		return nil, nil
	}
	t.dst = dst
	if d.scratch(kernel.Panel * pairBlock) {
		d.fork(t, ceil(t.rows(), kernel.Panel), moved*2*n)
	}
	return buf, dst
}

func (t *pairPack) run(w *worker, chunk int) {
	set, wide := t.d.kernels, pairsOf(t.k)
	first := chunk * kernel.Panel
	n := min(kernel.Panel, t.rows()-first)
	dst := t.dst[first*wide:][:kernel.Panel*wide]
	s := &t.src
	switch t.to {
	case rowsOfA:
		for i := range n {
			narrowRow(set, dst[i*wide:][:wide], s.row(first+i))
		}
	case columnsOfA:
		for from := 0; from < wide; from += pairBlock {
			count := min(pairBlock, wide-from)
			zipRows(set, w.scratch, s.p[2*from*s.stride+first:], s.stride, n, t.k-2*from, count)
			set.Transpose(dst[from:], wide, w.scratch, kernel.Panel, count, n)
		}
	case rowsOfB:
		zipRows(set, dst, s.p[first:], s.stride, n, t.k, wide)
	case columnsOfB:
		panelOfRows(set, w.scratch, dst, s.p[first*s.stride:], s.stride, n, t.k)
	}
}

// panelOfRows writes n rows of k numbers as a panel, the transpose of their
// pairs. Its scratch is kernel.Panel·pairBlock.
func panelOfRows(set *kernel.Set, scratch, dst, src []float32, stride, n, k int) {
	wide := pairsOf(k)
	if n < kernel.Panel {
		clear(dst[:wide*kernel.Panel])
	}
	for from := 0; from < wide; from += pairBlock {
		count := min(pairBlock, wide-from)
		for i := range n {
			narrowRow(set, scratch[i*count:][:count], src[i*stride:][2*from:min(k, 2*(from+count))])
		}
		set.Transpose(dst[from*kernel.Panel:], kernel.Panel, scratch, count, n, count)
	}
}

// zipRows writes count rows of pairs, kernel.Panel apart, of k rows of n
// numbers, with zeros past them.
func zipRows(set *kernel.Set, dst, src []float32, stride, n, k, count int) {
	var zeros [kernel.Panel]float32
	if n < kernel.Panel {
		clear(dst[:count*kernel.Panel])
	}
	for i := range count {
		to := dst[i*kernel.Panel:][:kernel.Panel]
		switch {
		case 2*i+1 < k:
			set.ZipBF16(to[:n], src[2*i*stride:], src[(2*i+1)*stride:])
		case 2*i < k:
			set.ZipBF16(to[:n], src[2*i*stride:], zeros[:])
		default:
			clear(to)
		}
	}
}

// zipped is a low-rank term in pairs.
func (d *Device) zipped(l low) (low, [2]*buffer) {
	to := columnsOfB
	if l.back {
		to = rowsOfB
	}
	rank := l.h.cols
	upBuf, up := d.packPairs(l.up, to)
	if upBuf == nil {
		return low{}, [2]*buffer{}
	}
	hBuf, h := d.packPairs(l.h, rowsOfA)
	wide := pairsOf(rank)
	l.h = matrix{p: h, rows: l.h.rows, cols: wide, stride: wide}
	l.up = matrix{p: up, rows: l.up.rows, cols: wide, stride: wide}
	return l, [2]*buffer{upBuf, hBuf}
}

// zipLows brings the low-rank terms of a product into pairs; what it returns
// gives their memory back.
func (d *Device) zipLows(lows []low) (buffers []*buffer, ok bool) {
	buffers = d.lowBuffers[:0]
	for i, l := range lows {
		z, b := d.zipped(l)
		for _, b := range b {
			if b != nil {
				buffers = append(buffers, b)
			}
		}
		if d.err != nil {
			d.releaseAll(buffers)
			return nil, false
		}
		lows[i] = z
	}
	d.lowBuffers = buffers
	return buffers, true
}

func (d *Device) releaseAll(buffers []*buffer) {
	for _, b := range buffers {
		d.Release(b)
	}
}

// multiplyLowPairs adds h·upᵀ of pairs to C.
func (d *Device) multiplyLowPairs(w *worker, g *grid, l *low, j0, n int) {
	t := &w.tile
	w.segs = sized(w.segs, 1)
	s := &w.segs[0]
	t.Segments = w.segs
	for at := 0; at < n; at += kernel.Panel {
		t.N = min(kernel.Panel, n-at)
		*s = kernel.Segment{ARow: l.h.stride, ACol: 1, BRow: kernel.Panel, K: l.h.cols,
			B: unsafe.Pointer(&l.up.p[(j0+at/kernel.Panel)*l.h.cols*kernel.Panel])}
		for r := range g.runs {
			s.A = l.row(g.lowRow + r*g.lowRun)
			t.C = offset(g.c, r*g.cRun+at)
			t.M = g.m
			d.pairs.MatMul(t)
		}
	}
	t.Accumulate = true
}
