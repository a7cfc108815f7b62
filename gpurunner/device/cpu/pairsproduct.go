package cpu

import (
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// pairProduct is the task of Linear, LinearBack and MatMul in the bf16 mode:
// y [M,N] = epi(A·B), B in panels of pairs. A chunk is a block of rows, which
// it rounds once, by a block of panels, which it goes through some at a time.
type pairProduct struct {
	d      *Device
	a      matrix // f32 [M,K], or pairs
	zipped bool   // a is pairs
	w      *weight
	pieces []piece
	lows   []low
	epi    epilogue
	m, n   int  // of the product: y's, or where it is turned, yᵀ's
	turned bool // yᵀ is computed

	rows, panels    int // of a chunk
	rowParts, parts int // blocks of rows, of panels
	stride          int // of a row of A in scratch, in pairs
}

const (
	pairBytes  = 768 << 10 // of a block of A
	pairRows   = 256       // at most
	pairPanels = 10        // of C at a time
)

// pairLinear is Linear (back false) and LinearBack in the bf16 mode.
func (d *Device) pairLinear(x matrix, w *weight, lows []low, epi epilogue, back bool) {
	if epi.y.rows*epi.y.cols == 0 {
		return
	}
	if back {
		if w = d.turned(w); w == nil {
			return
		}
		defer d.Release(w.buf)
	}
	buffers, ok := d.zipLows(lows)
	if !ok {
		return
	}
	defer d.releaseAll(buffers)
	t := &d.tasks.pairProduct
	*t = pairProduct{d: d, a: x, w: w, lows: lows, epi: epi, m: epi.y.rows, n: epi.y.cols, pieces: t.pieces[:0]}
	t.start(w.in)
}

// pairMatMul is MatMul in the bf16 mode.
func (d *Device) pairMatMul(a, b matrix, transA, transB bool, m, n, k int, epi epilogue) {
	if m*n == 0 {
		return
	}
	t := &d.tasks.pairProduct
	// As in MatMul, few columns of a transposed product are computed as rows.
	turned := transA && !transB && n <= turnColumns && m > 2*n
	if turned {
		a, b, m, n = b, a, n, m
	}
	toB := rowsOfB
	if transB {
		toB = columnsOfB
	}
	bBuf, panels := d.packPairs(b, toB)
	if bBuf == nil {
		return
	}
	defer d.Release(bBuf)
	zipped := transA
	if transA {
		buf, pairs := d.packPairs(a, columnsOfA)
		if buf == nil {
			return
		}
		defer d.Release(buf)
		a = matrix{p: pairs, rows: m, cols: pairsOf(k), stride: pairsOf(k)}
	}
	d.turnedWeight = weight{out: n, in: k, taps: 1, kind: device.BF16, pairs: true, depth: pairsOf(k), f: panels}
	*t = pairProduct{d: d, a: a, zipped: zipped, w: &d.turnedWeight, epi: epi, m: m, n: n, turned: turned, pieces: t.pieces[:0]}
	t.start(k)
}

// start cuts the product into chunks and runs them.
func (t *pairProduct) start(k int) {
	wide := pairsOf(k)
	if k == 0 {
		wide = 0
	}
	t.pieces = cutBlocks(t.pieces, 0, 1, 0, wide, pairBlock)
	groupBy(t.pieces, pairBlock)
	all := ceil(t.n, kernel.Panel)
	// Rows a power of two apart would share the sets of the cache.
	t.stride = wide + kernel.PairStep
	t.rows = min(roundUp(t.m, kernel.Panel), pairRows, max(kernel.Panel, pairBytes/4/t.stride/kernel.Panel*kernel.Panel))
	t.rowParts = ceil(t.m, t.rows)
	t.rows = min(t.rows, roundUp(ceil(t.m, t.rowParts), kernel.Panel))
	t.rowParts = ceil(t.m, t.rows)
	t.parts = 1
	if t.rowParts < t.d.wantChunks() {
		t.parts = min(all, ceil(t.d.wantChunks(), t.rowParts))
	}
	t.panels = ceil(all, t.parts)
	t.parts = ceil(all, t.panels)
	width := min(t.panels, pairPanels) * kernel.Panel
	need := t.rows * (t.stride + width)
	if t.turned {
		need += t.rows * width
	}
	if t.d.scratch(need) {
		t.d.fork(t, t.rowParts*t.parts, t.m*t.n*max(k, 1)/4)
	}
}

func (t *pairProduct) run(w *worker, chunk int) {
	part := chunk / t.parts
	m0, j0 := part*t.rows, chunk%t.parts*t.panels
	m := min(t.rows, t.m-m0)
	end := min(j0+t.panels, ceil(t.n, kernel.Panel))
	rows, free := w.scratch[:t.rows*t.stride], w.scratch[t.rows*t.stride:]
	g := &w.grid
	*g = grid{a: &rows[0], aRow: t.stride, aCol: 1, runs: 1, m: m, lowRow: m0, pairs: true}
	if t.zipped {
		g.a, g.aRow = &t.a.p[m0*t.a.stride], t.a.stride
	} else if len(t.pieces) > 0 && !t.d.pool.holds(w, part) {
		for i := range m {
			narrowRow(t.d.kernels, rows[i*t.stride:][:t.stride-kernel.PairStep], t.a.row(m0+i))
		}
	}
	b := operand{from: panels, w: t.w}
	y := &t.epi.y
	direct := t.epi.direct && !t.turned && alignedRows(y)
	for ; j0 < end; j0 += pairPanels {
		n0 := j0 * kernel.Panel
		n := min(min(pairPanels, end-j0)*kernel.Panel, t.n-n0)
		c, cStride := free, min(t.panels, pairPanels)*kernel.Panel
		if direct {
			c, cStride = y.p[m0*y.stride+n0:], y.stride
		}
		g.c, g.cStride = &c[0], cStride
		t.d.multiplyParts(w, g, &b, t.pieces, t.lows, t.m, j0, n, nil)
		if t.turned {
			t.storeTurned(w, c, free[t.rows*cStride:], cStride, m0, n0, m, n)
			continue
		}
		t.epi.finish(w, t.d.kernels, c, cStride, m0, n0, m, n, direct)
	}
}

// storeTurned stores part of yᵀ.
func (t *pairProduct) storeTurned(w *worker, c, back []float32, cStride, m0, n0, m, n int) {
	t.d.kernels.Transpose(back, m, c, cStride, m, n)
	t.epi.finish(w, t.d.kernels, back, m, n0, m0, n, m, false)
}

// finish is store of a c that is that part of y (in place) or not.
func (e *epilogue) finish(w *worker, set *kernel.Set, c []float32, cStride, m0, n0, m, n int, inPlace bool) {
	e.store(w, set, c, cStride, m0, n0, m, n)
	if e.direct && !inPlace {
		for i := range m {
			copy(e.y.row(m0 + i)[n0:n0+n], c[i*cStride:])
		}
	}
}

// alignedRows says whether rows of y begin lines of the cache: tiles that do
// not are slow to store.
func alignedRows(y *matrix) bool {
	return y.stride%16 == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(y.p)))%64 == 0
}
