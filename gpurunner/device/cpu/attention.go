package cpu

import (
	"math"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// Tiles of attention. With up to keyTile keys the online softmax is the plain
// one.
const (
	queryTile = 56
	keyTile   = 256
)

// attention is the task of Attention, by online softmax (Dao et al.,
// arXiv:2205.14135) with the key tiles in order. A chunk is a query tile of
// one sample and head.
type attention struct {
	d          *Device
	o, q, k, v matrix
	lse        []float32 // [Batch,Heads,TQ] or nil
	g          device.AttentionGeom
	keys       []float32 // panels of the transpose, by head
	values     []float32 // panels, by head
	tiles      int       // of queries
}

// packHeads is the task of copying the columns of every head into panels, the
// B operands of attention's products. In place heads would straddle the lines
// of the cache. A chunk is a key tile of one operand of one sample and head;
// those of a sample follow one another, for the worker that has its rows.
type packHeads struct {
	d        *Device
	g        device.AttentionGeom
	operands []headPanels
	tiles    int // of a sample and head
	floats   int
}

// headPanels are the panels of one operand: [⌈T/32⌉][Dim][32] of the transpose
// for scores, or [⌈Dim/32⌉][T][32] of the rows themselves for weighted sums, by
// head.
type headPanels struct {
	dst       []float32
	src       matrix
	t         int // tokens of a sample
	transpose bool
	first     int // tile of a sample and head
}

// headLen is the size of one head of t tokens in panels.
func headLen(t, dim int, transpose bool) int {
	if transpose {
		return kernel.PanelLen(t, dim)
	}
	return kernel.PanelLen(dim, t)
}

func (d *Device) packHeads(g device.AttentionGeom) *packHeads {
	p := &d.tasks.packHeads
	*p = packHeads{d: d, g: g, operands: p.operands[:0]}
	return p
}

// add takes the head of temp for the panels of src and returns them and the
// rest. They are filled when the task has run.
func (p *packHeads) add(temp []float32, src matrix, tokens int, transpose bool) (dst, rest []float32) {
	heads := p.g.Batch * p.g.Heads
	n := heads * headLen(tokens, p.g.Dim, transpose)
	h := headPanels{dst: temp[:n], src: src, t: tokens, transpose: transpose, first: p.tiles}
	p.operands = append(p.operands, h)
	p.tiles += ceil(tokens, keyTile)
	p.floats += n
	return h.dst, temp[n:]
}

func (p *packHeads) fork() { p.d.fork(p, p.g.Batch*p.g.Heads*p.tiles, moved*2*p.floats) }

func (p *packHeads) run(_ *worker, chunk int) {
	bh, tile := chunk/p.tiles, chunk%p.tiles
	i := len(p.operands) - 1
	for p.operands[i].first > tile {
		i--
	}
	h, g := &p.operands[i], &p.g
	t0 := (tile - h.first) * keyTile
	n := min(keyTile, h.t-t0)
	src := h.src.p[(bh/g.Heads*h.t+t0)*h.src.stride+bh%g.Heads*g.Dim:]
	dst := h.dst[bh*headLen(h.t, g.Dim, h.transpose):]
	if h.transpose {
		p.d.kernels.Pack(dst[t0*g.Dim:], src, h.src.stride, n, g.Dim)
		return
	}
	for c := 0; c < g.Dim; c += kernel.Panel {
		copyRows(dst[c*h.t+t0*kernel.Panel:], src[c:], h.src.stride, n, min(kernel.Panel, g.Dim-c))
	}
}

// copyRows copies rows of up to a panel's width into a panel. Whole and half
// ones go without a call each.
func copyRows(panel, src []float32, stride, rows, width int) {
	const half = kernel.Panel / 2
	for r := range rows {
		to, from := panel[r*kernel.Panel:], src[r*stride:]
		switch width {
		case kernel.Panel:
			*(*[kernel.Panel]float32)(to) = *(*[kernel.Panel]float32)(from)
		case half:
			*(*[half]float32)(to) = *(*[half]float32)(from)
		default:
			copy(to[:width], from)
		}
	}
}

func checkAttention(op string, g device.AttentionGeom) {
	if g.Batch < 0 || g.Heads < 0 || g.Dim < 1 || g.TQ < 0 || g.TK < 0 || !(g.Scale >= 0) {
		badGeometry(op, g, "impossible")
	}
}

// Attention implements device.Attentions.
func (d *Device) Attention(o device.Matrix, lse device.Array, q, k, v device.Matrix, g device.AttentionGeom) {
	const op = "Attention"
	checkAttention(op, g)
	t := &d.tasks.attention
	width := g.Heads * g.Dim
	*t = attention{d: d, g: g, tiles: ceil(g.TQ, queryTile),
		o:   d.matOf(op, "o", o, g.Batch*g.TQ, width),
		q:   d.matOf(op, "q", q, g.Batch*g.TQ, width),
		k:   d.matOf(op, "k", k, g.Batch*g.TK, width),
		v:   d.matOf(op, "v", v, g.Batch*g.TK, width),
		lse: d.optional(op, "lse", lse, g.Batch*g.Heads*g.TQ),
	}
	heads := g.Batch * g.Heads
	if heads*g.TQ == 0 {
		return
	}
	if d.pairs != nil {
		d.pairAttention(t)
		return
	}
	buf, temp := d.temp(heads * (headLen(g.TK, g.Dim, true) + headLen(g.TK, g.Dim, false)))
	if buf == nil {
		return
	}
	p := d.packHeads(g)
	t.keys, temp = p.add(temp, t.k, g.TK, true)
	t.values, _ = p.add(temp, t.v, g.TK, false)
	p.fork()
	if d.scratch(queryTile * (keyTile + 2)) {
		d.fork(t, heads*t.tiles, 2*heads*g.TQ*max(g.TK, 1)*g.Dim)
	}
	d.Release(buf)
}

func (t *attention) run(w *worker, chunk int) {
	g, set := &t.g, t.d.kernels
	bh, q0 := chunk/t.tiles, chunk%t.tiles*queryTile
	b, head := bh/g.Heads, bh%g.Heads*g.Dim
	m := min(queryTile, g.TQ-q0)
	s := w.scratch[:queryTile*keyTile]
	top := w.scratch[queryTile*keyTile:][:queryTile] // largest score yet, scaled
	sum := w.scratch[queryTile*(keyTile+1):][:queryTile]
	q := t.q.p[(b*g.TQ+q0)*t.q.stride+head:]
	o := t.o.p[(b*g.TQ+q0)*t.o.stride+head:]
	keys := t.keys[bh*headLen(g.TK, g.Dim, true):]
	values := t.values[bh*headLen(g.TK, g.Dim, false):]
	for i := range m {
		top[i], sum[i] = float32(math.Inf(-1)), 0
	}
	last := g.TK // keys that the tile's last query sees
	if g.Causal {
		last = min(last, q0+m)
	}
	for k0 := 0; k0 < last; k0 += keyTile {
		n := min(keyTile, last-k0)
		t.d.scores(w, s, q, t.q.stride, keys[k0*g.Dim:], m, n, g.Dim)
		for i := range m {
			row := s[i*keyTile:][:n]
			seen := n
			if g.Causal {
				seen = min(max(q0+i+1-k0, 0), n)
				clear(row[seen:])
				row = row[:seen]
				if seen == 0 {
					continue
				}
			}
			high := max(top[i], g.Scale*set.Max(row))
			if k0 > 0 && high > top[i] {
				fade := kernel.Exp32(top[i] - high)
				sum[i] *= fade
				or := o[i*t.o.stride:][:g.Dim]
				set.Scale(or, fade, or)
			}
			top[i] = high
			sum[i] += set.ExpSum(row, row, g.Scale, high)
		}
		sum := kernel.Segment{A: &s[0], ARow: keyTile, ACol: 1, K: n}
		t.d.weigh(w, o, t.o.stride, sum, values[k0*kernel.Panel:], g.TK, m, g.Dim, k0 > 0)
	}
	for i := range m {
		or := o[i*t.o.stride:][:g.Dim]
		if sum[i] == 0 {
			clear(or)
		} else {
			set.Scale(or, 1/sum[i], or)
		}
		if t.lse != nil {
			t.lse[bh*g.TQ+q0+i] = top[i] + float32(logE(float64(sum[i])))
		}
	}
}

// scores computes s [m,n], rows keyTile apart, = q·kᵀ for keys in panels.
func (d *Device) scores(w *worker, s, q []float32, qStride int, keys []float32, m, n, dim int) {
	tile := &w.tile
	w.segs = sized(w.segs, 1)
	for j := 0; j < n; j += kernel.Panel {
		*tile = kernel.Tile{C: &s[j], CStride: keyTile, M: m, N: min(kernel.Panel, n-j), Segments: w.segs}
		for k := 0; k < dim; k += kernel.BlockK {
			w.segs[0] = kernel.Segment{
				A: &q[k], ARow: qStride, ACol: 1,
				B: unsafe.Pointer(&keys[j*dim+k*kernel.Panel]), BRow: kernel.Panel,
				K: min(kernel.BlockK, dim-k),
			}
			d.kernels.MatMul(tile)
			tile.Accumulate = true
		}
	}
}

// weigh computes c [m,dim] = A·b, or adds it, for the A of s and the rows of
// one head of t tokens in panels.
func (d *Device) weigh(w *worker, c []float32, cStride int, s kernel.Segment, b []float32, t, m, dim int, add bool) {
	tile := &w.tile
	w.segs = sized(w.segs, 1)
	s.BRow = kernel.Panel
	for j := 0; j < dim; j += kernel.Panel {
		s.B = unsafe.Pointer(&b[j*t])
		w.segs[0] = s
		*tile = kernel.Tile{C: &c[j], CStride: cStride, M: m, N: min(kernel.Panel, dim-j),
			Segments: w.segs, Accumulate: add}
		d.kernels.MatMul(tile)
	}
}

// logE is the natural logarithm in plain products and sums, for the same bits
// everywhere; its relative error is below 1e-12.
func logE(x float64) float64 {
	if x <= 0 {
		return math.Inf(-1)
	}
	frac, exp := math.Frexp(x)
	if frac < math.Sqrt2/2 {
		frac *= 2
		exp--
	}
	// log(frac) = 2·atanh(s), |s| ≤ 0.1716
	s := (frac - 1) / (frac + 1)
	s2 := float64(s * s)
	sum := 0.0
	for n := 17; n >= 3; n -= 2 {
		sum = float64(sum+1/float64(n)) * s2
	}
	return float64(float64(exp)*math.Ln2) + float64(2*float64(s*(1+sum)))
}
