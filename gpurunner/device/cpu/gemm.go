package cpu

import (
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// piece is a part of the sum of a product: k terms, starting at number from of
// a tap. Linear layers have one tap, convolutions one per kernel position.
// a is the offset of A's first element from the base of its run.
type piece struct {
	a         int
	tap, from int
	k         int
	last      bool // of a group: at most kernel.BlockK terms summed in one chain
}

// cutTap appends the pieces of one tap of k terms, a row-major A at offset a.
// Pieces are even, so that no group is a short remainder, and start at
// multiples of a panel's width, so that transposed panels can be cut there.
func cutTap(p []piece, a, aCol, tap, k int) []piece {
	return cutBlocks(p, a, aCol, tap, k, kernel.BlockK)
}

// cutBlocks is cutTap for pieces of at most so many terms.
func cutBlocks(p []piece, a, aCol, tap, k, most int) []piece {
	if k == 0 {
		return p
	}
	parts := (k + most - 1) / most
	size := k
	if parts > 1 {
		size = roundUp((k+parts-1)/parts, kernel.Panel)
	}
	for from := 0; from < k; from += size {
		p = append(p, piece{a: a + from*aCol, tap: tap, from: from, k: min(size, k-from)})
	}
	return p
}

// group marks the ends of groups.
func group(p []piece) { groupBy(p, kernel.BlockK) }

func groupBy(p []piece, most int) {
	sum := 0
	for i := range p {
		sum += p[i].k
		p[i].last = i+1 == len(p) || sum+p[i+1].k > most
		if p[i].last {
			sum = 0
		}
	}
}

// source says how a product finds its B operand.
type source uint8

const (
	panels     source = iota // of a frozen weight
	transposed               // the same weight, transposed on the fly
	rows                     // live [K,N]
	columns                  // live [N,K]
)

// operand is the B of a product.
type operand struct {
	from  source
	w     *weight
	live  matrix
	widen bool // half types go through scratch rather than be converted in registers
	pack  bool // live rows are copied to a panel
}

// scratchB is the scratch that a panel of a group needs, in floats: in f32,
// once more in a half type, and the low-rank terms that join the group.
const scratchB = scratchPanel + joinedRank*kernel.Panel

// scratchPanel is the part of scratchB that prepare uses.
const scratchPanel = kernel.BlockK * kernel.Panel * 3 / 2

// joinedRank is the most columns of low-rank terms that are summed in one chain
// with the last group of a product, which saves C a way to memory and back.
// More are added afterwards.
const joinedRank = 64

// prepare points segs at the pieces' rows of panel number j, n columns of
// which are in use.
func (b *operand) prepare(set *kernel.Set, segs []kernel.Segment, pieces []piece, j, n int, scratch []float32) {
	switch b.from {
	case panels:
		b.w.panel(set, segs, pieces, j, b.widen, scratch)
	case transposed:
		b.w.panelTransposed(set, segs, pieces, j, scratch)
	case rows:
		at := 0
		for i, p := range pieces {
			src := b.live.p[p.from*b.live.stride+j*kernel.Panel:]
			s := &segs[i]
			s.Type, s.K = kernel.F32, p.k
			if !b.pack {
				s.B, s.BRow = unsafe.Pointer(&src[0]), b.live.stride
				continue
			}
			dst := scratch[at*kernel.Panel:]
			copyRows(dst, src, b.live.stride, p.k, n)
			s.B, s.BRow = unsafe.Pointer(&dst[0]), kernel.Panel
			at += p.k
		}
	case columns:
		at := 0
		for i, p := range pieces {
			dst := scratch[at*kernel.Panel:]
			set.Transpose(dst, kernel.Panel, b.live.p[j*kernel.Panel*b.live.stride+p.from:], b.live.stride, n, p.k)
			segs[i].B, segs[i].BRow, segs[i].Type, segs[i].K = unsafe.Pointer(&dst[0]), kernel.Panel, kernel.F32, p.k
			at += p.k
		}
	}
}

// low is a device.Low in memory: h [M,r], of rows from on; up is [N,r], or, back,
// [r,N].
type low struct {
	h, up matrix
	back  bool
	from  int
}

// grid is where the rows of A and C of a product lie: runs of m rows each.
type grid struct {
	a          *float32
	aRow, aCol int // elements between neighbours
	aRun       int // between runs
	c          *float32
	cStride    int
	cRun       int
	runs, m    int
	lowRow     int // row of the low-rank h that belongs to the first row
	lowRun     int // rows of it between runs
	pairs      bool

	add bool // C is added to

	// Where not nil, A (of one run) is first copied here block by block.
	compact []float32
}

// compactStride is the distance of the rows of a compact block of A: rows a
// multiple of a page apart would all fall into the same lines of the cache.
const compactStride = kernel.BlockK + 16

// multiply computes all of the grid's rows of n columns of C, those of panel
// j0 and following, overwriting C or adding to it. Groups of terms are the
// outer loop, so that the block of A that a group needs is read by all panels
// while it is near. The last group takes low-rank terms along.
func (d *Device) multiply(w *worker, g *grid, b *operand, pieces []piece, lows []low, j0, n int, scratch []float32) {
	t := &w.tile
	matMul := d.kernels.MatMul
	if g.pairs {
		matMul = d.pairs.MatMul
	}
	t.M, t.CStride, t.Row = g.m, g.cStride, 0
	t.Accumulate = g.add
	join := !g.pairs && len(pieces) > 0 && ranks(lows) <= joinedRank
	for len(pieces) > 0 {
		end := 1
		for !pieces[end-1].last {
			end++
		}
		part := pieces[:end]
		pieces = pieces[end:]
		joined := []low(nil)
		if join && len(pieces) == 0 {
			joined = lows
		}
		w.segs = sized(w.segs, end+len(joined))
		t.Segments = w.segs
		a, aRow, aCol := g.a, g.aRow, g.aCol
		if g.compact != nil {
			d.compactA(g, part)
			a, aRow, aCol = &g.compact[0], compactStride, 1
		}
		for i := range part {
			w.segs[i].ARow, w.segs[i].ACol = aRow, aCol
		}
		for at := 0; at < n; at += kernel.Panel {
			t.N = min(kernel.Panel, n-at)
			b.prepare(d.kernels, w.segs, part, j0+at/kernel.Panel, t.N, scratch)
			panel := scratchPanel // of the next term
			for i := range joined {
				l := &joined[i]
				l.prepare(d.kernels, &w.segs[end+i], 0, l.h.cols, j0*kernel.Panel+at, t.N, scratch[panel:])
				panel += l.h.cols * kernel.Panel
			}
			for r := range g.runs {
				from := 0
				for i, p := range part {
					if g.compact != nil {
						w.segs[i].A = offset(a, from)
						from += p.k
					} else {
						w.segs[i].A = offset(a, r*g.aRun+p.a)
					}
				}
				for i := range joined {
					w.segs[end+i].A = joined[i].row(g.lowRow + r*g.lowRun)
				}
				t.C = offset(g.c, r*g.cRun+at)
				matMul(t)
			}
		}
		t.Accumulate = true
	}
	if join {
		return
	}
	for i := range lows {
		if g.pairs {
			d.multiplyLowPairs(w, g, &lows[i], j0, n)
		} else {
			d.multiplyLow(w, g, &lows[i], j0, n, scratch)
		}
		t.Accumulate = true
	}
	if !t.Accumulate {
		for r := range g.runs {
			for m := range g.m {
				clear(unsafe.Slice(offset(g.c, r*g.cRun+m*g.cStride), n))
			}
		}
	}
}

// compactA copies the pieces' columns of A side by side.
func (d *Device) compactA(g *grid, part []piece) {
	to := 0
	for _, p := range part {
		from := offset(g.a, p.a)
		if g.aCol != 1 { // transposed: [k,m]
			src := unsafe.Slice(from, (p.k-1)*g.aCol+g.m)
			d.kernels.Transpose(g.compact[to:], compactStride, src, g.aCol, p.k, g.m)
		} else {
			for m := range g.m {
				copy(g.compact[m*compactStride+to:][:p.k], unsafe.Slice(offset(from, m*g.aRow), p.k))
			}
		}
		to += p.k
	}
}

// row points at the row of h that belongs to row i of the product.
func (l *low) row(i int) *float32 { return &l.h.p[(i-l.from)*l.h.stride] }

// ranks is how many columns low-rank terms have together.
func ranks(lows []low) int {
	n := 0
	for i := range lows {
		n += lows[i].h.cols
	}
	return n
}

// prepare makes s the product of k columns of h, from number from on, and what
// belongs to them of n columns of C from column on. Scratch holds that as a panel.
func (l *low) prepare(set *kernel.Set, s *kernel.Segment, from, k, column, n int, scratch []float32) {
	s.Type, s.K, s.ARow, s.ACol = kernel.F32, k, l.h.stride, 1
	if l.back {
		s.B, s.BRow = unsafe.Pointer(&l.up.p[from*l.up.stride+column]), l.up.stride
		return
	}
	set.Transpose(scratch, kernel.Panel, l.up.p[column*l.up.stride+from:], l.up.stride, n, k)
	s.B, s.BRow = unsafe.Pointer(&scratch[0]), kernel.Panel
}

// multiplyLow adds h·upᵀ to C, or stores it where nothing has been.
func (d *Device) multiplyLow(w *worker, g *grid, l *low, j0, n int, scratch []float32) {
	t := &w.tile
	w.segs = sized(w.segs, 1)
	s := &w.segs[0]
	t.Segments = w.segs
	for from := 0; from < l.h.cols; from += kernel.BlockK {
		k := min(kernel.BlockK, l.h.cols-from)
		for at := 0; at < n; at += kernel.Panel {
			t.N = min(kernel.Panel, n-at)
			l.prepare(d.kernels, s, from, k, j0*kernel.Panel+at, t.N, scratch)
			for r := range g.runs {
				s.A = offset(l.row(g.lowRow+r*g.lowRun), from)
				t.C = offset(g.c, r*g.cRun+at)
				d.kernels.MatMul(t)
			}
		}
		t.Accumulate = true
	}
}

// offset returns p + i elements.
func offset(p *float32, i int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i))
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, 2*n)
	}
	return s[:n]
}

func ceil(a, b int) int { return (a + b - 1) / b }
