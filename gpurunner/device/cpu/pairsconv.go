package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// How a conv runs in the bf16 mode: the same implicit product over a padded
// copy of a few rows, in pairs of channels, never by Winograd. Where rows of y
// are short, all rows of a block are one run of A: with a stride of 1, pixels
// of the padded picture follow each other, and what the run computes for its
// border is left out afterwards. Blocks that are whole small pictures go by
// several at once, so that a panel is read once for all of them.
type pairConv struct {
	on     bool
	deep   int  // pairs of a pixel
	joined bool // the rows of a block are one run
	images int  // pictures of a block
	parts  int  // blocks of panels
}

const (
	convBytes  = 1 << 20 // of a block's padded rows
	convPixels = 512     // of a block
)

// startPairs cuts the work into chunks and runs them. Pieces are made here:
// those of start count channels.
func (t *conv) startPairs() {
	g := &t.pair
	g.on = true
	w := t.b.w
	if t.b.from == transposed {
		if w = t.d.turned(w); w == nil {
			return
		}
		defer t.d.Release(w.buf)
	}
	t.b = operand{from: panels, w: w}
	buffers, ok := t.d.zipLows(t.lows)
	if !ok {
		return
	}
	defer t.d.releaseAll(buffers)
	g.deep = pairsOf(t.c)
	t.deepen()
	widest, height, tallest := t.phases[0].cols, 1, t.phases[0].rows // phases differ by one at most
	for _, p := range t.phases {
		height = max(height, p.height)
	}
	bytes := func(rows, images int) int { return images * (rows*t.step + height) * t.padW * g.deep * 4 }
	t.rows = max(1, min(tallest, convPixels/max(widest, 1)))
	for t.rows > 1 && bytes(t.rows, 1) > convBytes {
		t.rows = (t.rows + 1) / 2
	}
	t.rows = ceil(tallest, ceil(tallest, t.rows))
	g.joined = t.step == 1 && t.rows*roundUp(widest, kernel.PairStep) > roundUp(t.rows*t.padW, kernel.PairStep)
	g.images = 1
	if g.joined && t.rows >= tallest {
		for g.images < t.n && bytes(t.rows, g.images+1) <= 2*convBytes && (g.images+1)*t.rows*widest <= convPixels {
			g.images++
		}
	}
	all := ceil(t.out, kernel.Panel)
	blocks := 0
	for i := range t.phases {
		t.phases[i].parts = ceil(t.phases[i].rows, t.rows)
		blocks += t.phases[i].parts
	}
	blocks *= ceil(t.n, g.images)
	g.parts = 1
	if blocks < t.d.wantChunks() {
		g.parts = min(all, ceil(t.d.wantChunks(), max(blocks, 1)))
	}
	t.panels = ceil(all, g.parts)
	g.parts = ceil(all, t.panels)
	work, chunks := 0, 0
	for i := range t.phases {
		p := &t.phases[i]
		p.chunk = chunks
		chunks += p.parts * ceil(t.n, g.images) * g.parts
		for _, q := range t.pieces[p.first:p.last] {
			work += q.k * p.rows * p.cols
		}
	}
	need := bytes(t.rows, g.images)/4 + g.images*t.rows*t.padW*min(t.panels, pairPanels)*kernel.Panel
	if t.d.scratch(need) {
		t.d.fork(t, chunks, work*t.out*t.n/4)
	}
}

// deepen turns pieces of channels into pieces of pairs.
func (t *conv) deepen() {
	channels := t.pieces
	t.pieces = nil
	for i := range t.phases {
		p := &t.phases[i]
		first := len(t.pieces)
		for _, q := range channels[p.first:p.last] {
			if q.from == 0 { // the first of a tap: its offset is whole pixels
				t.pieces = cutBlocks(t.pieces, q.a/max(t.c, 1)*t.pair.deep, 1, q.tap, t.pair.deep, pairBlock)
			}
		}
		p.first, p.last = first, len(t.pieces)
		groupBy(t.pieces[first:], pairBlock)
	}
}

func (t *conv) runPairs(w *worker, chunk int) {
	q := &t.pair
	i := len(t.phases) - 1
	for t.phases[i].chunk > chunk {
		i--
	}
	p := &t.phases[i]
	local := chunk - p.chunk
	j0, part := local%q.parts*t.panels, local/q.parts
	img0, r0 := part/p.parts*q.images, part%p.parts*t.rows
	images, rows := min(q.images, t.n-img0), min(t.rows, p.rows-r0)
	end := min(j0+t.panels, ceil(t.out, kernel.Panel))

	one := (t.rows*t.step + p.height) * t.padW * q.deep
	src, free := w.scratch[:q.images*one], w.scratch[q.images*one:]
	g := &w.grid
	*g = grid{aRow: t.step * q.deep, aCol: 1, aRun: t.step * t.padW * q.deep, runs: rows, m: p.cols, lowRun: t.outW, pairs: true}
	if !t.d.pool.holds(w, chunk-local%q.parts) {
		for k := range images {
			t.padPairs(src[k*one:(k+1)*one], p, img0+k, r0, rows)
		}
	}
	if p.last > p.first {
		g.a = &src[0]
	}
	y := &t.epi.y
	first := (img0*t.outH+p.y0+r0*p.every)*t.outW + p.x0 // row of y
	g.lowRow = first
	direct := t.epi.direct && !q.joined && alignedRows(y)
	perImage := t.outH * t.outW
	if q.joined {
		g.runs, g.aRun, g.m, g.lowRun = images, one, (rows-1)*t.padW+p.cols, perImage
	}
	width := min(t.panels, pairPanels) * kernel.Panel
	for ; j0 < end; j0 += pairPanels {
		n0 := j0 * kernel.Panel
		n := min(min(pairPanels, end-j0)*kernel.Panel, t.out-n0)
		c := free
		if direct {
			c = y.p[first*y.stride+n0:]
			g.cStride, g.cRun = p.every*y.stride, p.every*t.outW*y.stride
		} else {
			g.cStride, g.cRun = width, g.m*width
		}
		g.c = &c[0]
		lows := t.lows
		if q.joined || p.every != 1 {
			lows = nil // their rows do not follow A's
		}
		t.d.multiply(w, g, &t.b, t.pieces[p.first:p.last], lows, j0, n, nil)
		if direct && t.epi.plain {
			continue
		}
		for k := range images {
			for r := range rows {
				from, to := r*g.cRun, first+k*perImage+r*p.every*t.outW
				if q.joined {
					from = k*g.cRun + r*t.padW*g.cStride
					t.joinLows(w, c[from:], g.cStride, to, j0, n, p.cols)
				}
				if p.every == 1 {
					t.epi.finish(w, t.d.kernels, c[from:], g.cStride, to, n0, p.cols, n, direct)
					continue
				}
				for x := range p.cols {
					t.epi.finish(w, t.d.kernels, c[from+x*g.cStride:], g.cStride, to+x*p.every, n0, 1, n, direct)
				}
			}
		}
	}
}

// joinLows adds the low-rank terms to one row of pixels of a joined run.
func (t *conv) joinLows(w *worker, c []float32, cStride, row, j0, n, cols int) {
	if len(t.lows) == 0 {
		return
	}
	g := grid{c: &c[0], cStride: cStride, runs: 1, m: cols, lowRow: row}
	w.tile.CStride, w.tile.Row, w.tile.Accumulate = cStride, 0, true
	for i := range t.lows {
		t.d.multiplyLowPairs(w, &g, &t.lows[i], j0, n)
	}
}

// padPairs is pad in pairs.
func (t *conv) padPairs(dst []float32, p *phase, img, r0, rows int) {
	h, w, set := t.h, t.w, t.d.kernels
	if t.upH != 0 {
		h, w = t.upH, t.upW
	}
	deep := t.pair.deep
	x0, x1 := max(0, p.left), min(w, p.left+t.padW) // columns that exist
	x1 = max(x0, x1)
	for i := range (rows-1)*t.step + p.height {
		row := dst[i*t.padW*deep:][:t.padW*deep]
		y := p.top + r0*t.step + i
		if y < 0 || y >= h {
			clear(row)
			continue
		}
		clear(row[:min(x0-p.left, t.padW)*deep])
		clear(row[min(x1-p.left, t.padW)*deep:])
		switch {
		case x0 == x1:
		case t.upH == 0 && t.c == 2*deep:
			narrowRow(set, row[(x0-p.left)*deep:(x1-p.left)*deep], t.x[((img*t.h+y)*t.w+x0)*t.c:][:(x1-x0)*t.c])
		case t.upH == 0:
			for x := x0; x < x1; x++ {
				narrowRow(set, row[(x-p.left)*deep:][:deep], t.x[((img*t.h+y)*t.w+x)*t.c:][:t.c])
			}
		default:
			from := t.x[(img*t.h+y*t.h/t.upH)*t.w*t.c:]
			for x, last := x0, -1; x < x1; x++ {
				to, at := row[(x-p.left)*deep:][:deep], x*t.w/t.upW
				if at == last {
					copy(to, row[(x-1-p.left)*deep:])
				} else {
					narrowRow(set, to, from[at*t.c:][:t.c])
				}
				last = at
			}
		}
	}
}
