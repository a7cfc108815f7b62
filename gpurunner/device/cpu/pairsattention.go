package cpu

import (
	"math"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// pairQueries is the query tile of attention in the bf16 mode: whole tiles.
const pairQueries = 64

// pairAttention is attention in the bf16 mode: queries, keys, values and the
// exponentials are rounded where they enter a product; scores, maxima, sums and
// the output stay in float32.
type pairAttention struct {
	attention
	deep int // pairs of a head
	rows int // pairs of the keys, as k of the second product
}

// pairHeads is the task of packing keys or values by head: panels of the
// transposed pairs, or of zipped rows. A chunk is a sample and head.
type pairHeads struct {
	d         *Device
	dst       []float32
	src       matrix
	g         device.AttentionGeom
	t         int // tokens of a sample
	transpose bool
}

// pairHeadLen is the size of one head of t tokens.
func pairHeadLen(t, dim int, transpose bool) int {
	if transpose {
		return roundUp(t, kernel.Panel) * pairsOf(dim)
	}
	return roundUp(dim, kernel.Panel) * pairsOf(t)
}

func (p *pairHeads) run(w *worker, bh int) {
	g, set := &p.g, p.d.kernels
	src := p.src.p[bh/g.Heads*p.t*p.src.stride+bh%g.Heads*g.Dim:]
	size := pairHeadLen(p.t, g.Dim, p.transpose)
	dst := p.dst[bh*size:][:size]
	if p.transpose {
		wide := pairsOf(g.Dim)
		for t := 0; t < p.t; t += kernel.Panel {
			panelOfRows(set, w.scratch, dst[t*wide:][:kernel.Panel*wide], src[t*p.src.stride:], p.src.stride, min(kernel.Panel, p.t-t), g.Dim)
		}
		return
	}
	wide := pairsOf(p.t)
	for c := 0; c < g.Dim; c += kernel.Panel {
		zipRows(set, dst[c*wide:], src[c:], p.src.stride, min(kernel.Panel, g.Dim-c), p.t, wide)
	}
}

// pairHeads takes the head of temp for the panels of src and returns them and
// the rest.
func (d *Device) pairHeads(temp []float32, src matrix, g device.AttentionGeom, tokens int, transpose bool) (dst, rest []float32) {
	n := g.Batch * g.Heads * pairHeadLen(tokens, g.Dim, transpose)
	p := &d.tasks.pairHeads
	*p = pairHeads{d: d, dst: temp[:n], src: src, g: g, t: tokens, transpose: transpose}
	if tokens > 0 && d.scratch(kernel.Panel*pairBlock) {
		d.fork(p, g.Batch*g.Heads, moved*2*n)
	}
	return p.dst, temp[n:]
}

// pairAttention is Attention in the bf16 mode, its operands found.
func (d *Device) pairAttention(a *attention) {
	g := a.g
	t := &d.tasks.pairAttention
	*t = pairAttention{attention: *a, deep: pairsOf(g.Dim), rows: pairsOf(g.TK)}
	t.tiles = ceil(g.TQ, pairQueries)
	heads := g.Batch * g.Heads
	buf, temp := d.temp(max(1, heads*(pairHeadLen(g.TK, g.Dim, true)+pairHeadLen(g.TK, g.Dim, false))))
	if buf == nil {
		return
	}
	t.keys, temp = d.pairHeads(temp, t.k, g, g.TK, true)
	t.values, _ = d.pairHeads(temp, t.v, g, g.TK, false)
	if d.scratch(t.scratch()) {
		d.fork(t, heads*t.tiles, heads*g.TQ*max(g.TK, 1)*g.Dim)
	}
	d.Release(buf)
}

const pairKeys = keyTile/2 + kernel.PairStep // a row of exponentials, in pairs

// scratch is what a chunk needs: scores, exponentials, queries, output, maxima
// and sums.
func (t *pairAttention) scratch() int {
	return pairQueries * (keyTile + pairKeys + t.deep + kernel.PairStep + roundUp(t.g.Dim, kernel.Panel) + 2)
}

func (t *pairAttention) run(w *worker, chunk int) {
	g, set := &t.g, t.d.kernels
	bh, q0 := chunk/t.tiles, chunk%t.tiles*pairQueries
	b, head := bh/g.Heads, bh%g.Heads*g.Dim
	m := min(pairQueries, g.TQ-q0)
	rest := w.scratch
	take := func(n int) (s []float32) { s, rest = rest[:n], rest[n:]; return s }
	s, p := take(pairQueries*keyTile), take(pairQueries*pairKeys)
	qStride, oStride := t.deep+kernel.PairStep, roundUp(g.Dim, kernel.Panel)
	q, o := take(pairQueries*qStride), take(pairQueries*oStride)
	top, sum := take(pairQueries), take(pairQueries)
	keys := t.keys[bh*pairHeadLen(g.TK, g.Dim, true):]
	values := t.values[bh*pairHeadLen(g.TK, g.Dim, false):]
	for i := range m {
		narrowRow(set, q[i*qStride:][:t.deep], t.q.p[(b*g.TQ+q0+i)*t.q.stride+head:][:g.Dim])
		top[i], sum[i] = float32(math.Inf(-1)), 0
	}
	last := g.TK // keys that the tile's last query sees
	if g.Causal {
		last = min(last, q0+m)
	}
	for k0 := 0; k0 < last; k0 += keyTile {
		n := min(keyTile, last-k0)
		wide := pairsOf(n)
		t.d.pairScores(w, s, q, qStride, keys[k0*t.deep:], m, n, t.deep)
		for i := range m {
			row, pairs := s[i*keyTile:][:n], p[i*pairKeys:][:wide]
			seen := n
			if g.Causal {
				seen = min(max(q0+i+1-k0, 0), n)
				row = row[:seen]
				if seen == 0 {
					clear(pairs)
					continue
				}
			}
			high := max(top[i], g.Scale*set.Max(row))
			if k0 > 0 && high > top[i] {
				fade := kernel.Exp32(top[i] - high)
				sum[i] *= fade
				or := o[i*oStride:][:g.Dim]
				set.Scale(or, fade, or)
			}
			top[i] = high
			sum[i] += set.ExpSum(row, row, g.Scale, high)
			narrowRow(set, pairs, row)
		}
		t.d.pairWeigh(w, o, oStride, p, pairKeys, values[k0/2*kernel.Panel:], t.rows, m, g.Dim, wide, k0 > 0)
	}
	for i := range m {
		or := t.o.p[(b*g.TQ+q0+i)*t.o.stride+head:][:g.Dim]
		if sum[i] == 0 {
			clear(or)
		} else {
			set.Scale(or, 1/sum[i], o[i*oStride:][:g.Dim])
		}
		if t.lse != nil {
			t.lse[bh*g.TQ+q0+i] = top[i] + float32(logE(float64(sum[i])))
		}
	}
}

// pairScores computes s [m,n], rows keyTile apart, = q·kᵀ for keys in panels of
// so many pairs.
func (d *Device) pairScores(w *worker, s, q []float32, qStride int, keys []float32, m, n, deep int) {
	tile := &w.tile
	w.segs = sized(w.segs, 1)
	w.segs[0] = kernel.Segment{A: &q[0], ARow: qStride, ACol: 1, BRow: kernel.Panel, K: deep}
	for j := 0; j < n; j += kernel.Panel {
		w.segs[0].B = unsafe.Pointer(&keys[j*deep])
		*tile = kernel.Tile{C: &s[j], CStride: keyTile, M: m, N: min(kernel.Panel, n-j), Segments: w.segs}
		d.pairs.MatMul(tile)
	}
}

// pairWeigh computes c [m,dim] = a·b, or adds it, for wide pairs of a and of
// rows of b, whose panels are so many pairs apart.
func (d *Device) pairWeigh(w *worker, c []float32, cStride int, a []float32, aStride int, b []float32, apart, m, dim, wide int, add bool) {
	tile := &w.tile
	w.segs = sized(w.segs, 1)
	w.segs[0] = kernel.Segment{A: &a[0], ARow: aStride, ACol: 1, BRow: kernel.Panel, K: wide}
	for j := 0; j < dim; j += kernel.Panel {
		w.segs[0].B = unsafe.Pointer(&b[j*apart])
		*tile = kernel.Tile{C: &c[j], CStride: cStride, M: m, N: min(kernel.Panel, dim-j), Segments: w.segs, Accumulate: add}
		d.pairs.MatMul(tile)
	}
}
