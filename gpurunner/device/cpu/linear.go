package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// product is the task of Linear, LinearBack and MatMul: y [M,N] = epi(A·B).
// A chunk is a block of rows by a block of panels.
type product struct {
	d        *Device
	a        matrix
	aRow     int
	aCol     int
	b        operand
	pieces   []piece
	lows     []low
	epi      epilogue
	m, n     int  // of the product: y's, or where it is turned, yᵀ's
	turned   bool // yᵀ is computed: y has few columns and a is transposed
	rows     int  // of y per chunk
	panels   int  // of B per chunk
	rowParts int
	byRows   bool // chunks of the same rows follow one another, else those of the same panels
	compact  bool // A is copied block by block
}

// Rows and panels of a chunk. Enough rows that widening or transposing a panel
// costs little beside using it, few enough that their block of A stays in L2.
const (
	chunkRows   = 224
	chunkPanels = 10
	turnColumns = 16 // up to here aᵀ·b is computed as (bᵀ·a)ᵀ
	// Up to here B stays in the cache of a core, which may then keep to its
	// own rows of x and y. A larger one is read once, for all rows.
	nearFloats = 1 << 17
	smallRows  = 64 // up to here halves are converted in registers
)

// Linear implements device.Products.
func (d *Device) Linear(y, x device.Matrix, w device.Weight, lows []device.Low, epi device.Epilogue) {
	const op = "Linear"
	t := &d.tasks.product
	wt := d.weight(op, w)
	if wt.taps != 1 {
		badKernel(op, wt)
	}
	ym := d.matOf(op, "y", y, x.Rows, wt.out)
	t.a = d.matOf(op, "x", x, x.Rows, wt.in)
	t.aRow, t.aCol = t.a.stride, 1
	t.b = operand{from: panels, w: wt, widen: x.Rows > smallRows}
	t.lows = d.lows(op, t.lows[:0], lows, ym, false)
	t.epi = d.epilogue(op, epi, ym, 1)
	if wt.pairs {
		d.pairLinear(t.a, wt, t.lows, t.epi, false)
		return
	}
	t.pieces = cutTap(t.pieces[:0], 0, 1, 0, wt.in)
	t.start(d, ym.rows, ym.cols, wt.in, false)
}

// LinearBack implements device.Products.
func (d *Device) LinearBack(dx, dy device.Matrix, w device.Weight, lows []device.Low, beta float32) {
	const op = "LinearBack"
	t := &d.tasks.product
	wt := d.weight(op, w)
	if wt.taps != 1 {
		badKernel(op, wt)
	}
	ym := d.matOf(op, "dx", dx, dy.Rows, wt.in)
	t.a = d.matOf(op, "dy", dy, dy.Rows, wt.out)
	t.aRow, t.aCol = t.a.stride, 1
	t.b = operand{from: transposed, w: wt}
	t.lows = d.lows(op, t.lows[:0], lows, ym, true)
	t.epi = d.epilogue(op, device.Epilogue{Beta: beta}, ym, 1)
	if wt.pairs {
		d.pairLinear(t.a, wt, t.lows, t.epi, true)
		return
	}
	t.pieces = cutTap(t.pieces[:0], 0, 1, 0, wt.out)
	t.start(d, ym.rows, ym.cols, wt.out, false)
}

// MatMul implements device.Products.
func (d *Device) MatMul(c, a, b device.Matrix, transA, transB bool, alpha float32, epi device.Epilogue) {
	const op = "MatMul"
	t := &d.tasks.product
	t.a = d.mat(op, "a", a)
	t.aRow, t.aCol = t.a.stride, 1
	m, k := a.Rows, a.Cols
	if transA {
		m, k = k, m
		t.aRow, t.aCol = 1, t.a.stride
	}
	n := b.Cols
	t.b = operand{from: rows, pack: m > smallRows && b.Stride > kernel.Panel} // narrow rows are near each other as they lie
	if transB {
		n = b.Rows
		t.b.from = columns
		t.b.live = d.matOf(op, "b", b, n, k)
	} else {
		t.b.live = d.matOf(op, "b", b, k, n)
	}
	ym := d.matOf(op, "c", c, m, n)
	t.lows = t.lows[:0]
	t.epi = d.epilogue(op, epi, ym, alpha)
	if d.pairs != nil {
		d.pairMatMul(t.a, t.b.live, transA, transB, m, n, k, t.epi)
		return
	}
	turned := transA && !transB && n <= turnColumns && m > 2*n
	if turned {
		// The rows of a are a B operand as they lie; a few columns of B would
		// leave the vectors empty.
		t.a, t.b.live = t.b.live, t.a
		t.aRow, t.aCol = 1, b.Stride
		t.b.pack = false
		m, n = n, m
	}
	t.pieces = cutTap(t.pieces[:0], 0, t.aCol, 0, k)
	t.start(d, m, n, k, turned)
}

// lows finds the low-rank terms of a product with result y. Terms of some of the
// rows alone come one after the other.
func (d *Device) lows(op string, dst []low, src []device.Low, y matrix, back bool) []low {
	for _, l := range src {
		h := d.mat(op, "h", l.H)
		if l.From < 0 || l.From+h.rows > y.rows {
			badTerm(op, l.From, h.rows, y.rows)
		}
		if h.rows*h.cols == 0 {
			continue
		}
		var up matrix
		if back {
			up = d.matOf(op, "down", l.Up, h.cols, y.cols)
		} else {
			up = d.matOf(op, "up", l.Up, y.cols, h.cols)
		}
		dst = append(dst, low{h: h, up: up, back: back, from: l.From})
	}
	return dst
}

// start cuts the product into chunks, by shape alone, and runs them.
func (t *product) start(d *Device, m, n, k int, turned bool) {
	t.d, t.m, t.n, t.turned = d, m, n, turned
	group(t.pieces)
	if m == 0 || n == 0 {
		return
	}
	all := ceil(n, kernel.Panel)
	t.rows, t.panels = min(m, chunkRows), min(all, chunkPanels)
	for ceil(m, t.rows)*ceil(all, t.panels) < t.d.wantChunks() {
		if t.panels > 1 {
			t.panels = (t.panels + 1) / 2
		} else if t.rows > 56 {
			t.rows = roundUp(t.rows/2, 28)
		} else {
			break
		}
	}
	t.byRows = all*kernel.Panel*k <= nearFloats
	if t.rows = ceil(m, ceil(m, t.rows)); t.byRows && m > smallRows { // even parts
		t.rows = d.evenBlock(m, t.rows)
	}
	t.rowParts = ceil(m, t.rows)
	// A transposed A costs a line per element; rows a multiple of a page apart
	// evict one another.
	t.compact = !turned && t.rows > 1 && (t.aCol != 1 && all > 1 || t.aCol == 1 && t.aRow%512 == 0)
	if !turned {
		t.epi.accumulate()
	}
	if t.byRows && t.rowParts > len(d.pool.workers) && t.unpacks() {
		w := d.unpacked(t.b.w, t.b.from == transposed, t.pieces)
		if w == nil {
			return
		}
		defer d.Release(w.buf)
		t.b = operand{from: panels, w: w}
	}
	need := scratchB
	if t.compact {
		need += t.rows * compactStride
	}
	if !t.epi.direct || turned {
		need += 2 * t.rows * t.panels * kernel.Panel
	}
	if d.scratch(need) {
		d.fork(t, t.rowParts*ceil(all, t.panels), m*n*max(k, 1))
	}
}

// unpacks reports whether panels of B are not used as they lie.
func (t *product) unpacks() bool {
	return t.b.from == transposed || t.b.from == panels && t.b.w.f == nil && t.b.widen
}

func (t *product) run(w *worker, chunk int) {
	y := &t.epi.y
	row, panel := chunk%t.rowParts, chunk/t.rowParts
	if t.byRows {
		parts := ceil(ceil(t.n, kernel.Panel), t.panels)
		row, panel = chunk/parts, chunk%parts
	}
	m0, j0 := row*t.rows, panel*t.panels
	m := min(t.rows, t.m-m0)
	n0 := j0 * kernel.Panel
	n := min(t.panels*kernel.Panel, t.n-n0)
	free := w.scratch[scratchB:]
	var compact []float32
	if t.compact {
		compact, free = free[:t.rows*compactStride], free[t.rows*compactStride:]
	}
	c, cStride := free, t.panels*kernel.Panel
	if t.epi.direct && !t.turned {
		c, cStride = y.p[m0*y.stride+n0:], y.stride
	}
	g := &w.grid
	*g = grid{aRow: t.aRow, aCol: t.aCol, cStride: cStride, runs: 1, m: m, lowRow: m0, c: &c[0], compact: compact, add: t.epi.add}
	if len(t.pieces) > 0 {
		g.a = &t.a.p[m0*t.aRow]
	}
	t.d.multiplyParts(w, g, &t.b, t.pieces, t.lows, t.m, j0, n, w.scratch)
	if !t.turned {
		t.epi.store(w, t.d.kernels, c, cStride, m0, n0, m, n)
		return
	}
	back, stride := c[t.rows*cStride:], m
	if t.epi.direct {
		back, stride = y.p[n0*y.stride+m0:], y.stride
	}
	t.d.kernels.Transpose(back, stride, c, cStride, m, n)
	t.epi.store(w, t.d.kernels, back, stride, n0, m0, n, m)
}
