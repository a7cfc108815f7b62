package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// backQueries is the query tile of backward: its products sum over it, so it
// is longer.
const backQueries = 112

// manyHeads is the number of heads in all samples from which each is one
// chunk that makes dq, dk and dv in one go, key tiles outside. With fewer, dk
// and dv are made by key tile and dq by query tile, which computes the scores
// twice.
const manyHeads = 8

// attentionBack is the task of AttentionBack: the probabilities come back from
// the log-sum-exp, and Σ p·dp of a row is Σ do·o.
type attentionBack struct {
	d              *Device
	dq, dk, dv     matrix
	do, o, q, k, v matrix
	lse            []float32
	dots           []float32 // [Batch,Heads,TQ] Σ do·o
	keys, values   []float32 // panels of the transposes, by head
	qs, dos, ks    []float32 // panels, by head
	g              device.AttentionGeom
	pass           backPass
	queries, tiles int // query tiles, key tiles
}

type backPass uint8

const (
	passDots    backPass = iota // chunk: query tile of a sample and head
	passHead                    // chunk: sample and head
	passKeys                    // chunk: key tile of a sample and head
	passQueries                 // chunk: query tile of a sample and head
)

// AttentionBack implements device.Attentions.
func (d *Device) AttentionBack(dq, dk, dv, do, o, q, k, v device.Matrix, lse device.Array, g device.AttentionGeom) {
	const op = "AttentionBack"
	checkAttention(op, g)
	t := &d.tasks.attentionBack
	width := g.Heads * g.Dim
	nq, nk := g.Batch*g.TQ, g.Batch*g.TK
	*t = attentionBack{d: d, g: g,
		dq: d.matOf(op, "dq", dq, nq, width),
		dk: d.matOf(op, "dk", dk, nk, width),
		dv: d.matOf(op, "dv", dv, nk, width),
		do: d.matOf(op, "do", do, nq, width),
		o:  d.matOf(op, "o", o, nq, width),
		q:  d.matOf(op, "q", q, nq, width),
		k:  d.matOf(op, "k", k, nk, width),
		v:  d.matOf(op, "v", v, nk, width),

		lse:     d.f32n(op, "lse", lse, g.Batch*g.Heads*g.TQ),
		queries: ceil(g.TQ, backQueries),
		tiles:   ceil(g.TK, keyTile),
	}
	heads := g.Batch * g.Heads
	if heads*(g.TQ+g.TK) == 0 {
		return
	}
	buf, temp := d.temp(heads * (g.TQ + 2*headLen(g.TK, g.Dim, true) + headLen(g.TK, g.Dim, false) + 2*headLen(g.TQ, g.Dim, false)))
	if buf == nil {
		return
	}
	defer d.Release(buf)
	t.dots, temp = temp[:heads*g.TQ], temp[heads*g.TQ:]
	p := d.packHeads(g)
	t.keys, temp = p.add(temp, t.k, g.TK, true)
	t.values, temp = p.add(temp, t.v, g.TK, true)
	t.ks, temp = p.add(temp, t.k, g.TK, false)
	t.qs, temp = p.add(temp, t.q, g.TQ, false)
	t.dos, _ = p.add(temp, t.do, g.TQ, false)
	p.fork()
	if !d.scratch(2 * backQueries * keyTile) {
		return
	}
	t.pass = passDots
	d.fork(t, heads*t.queries, moved*2*nq*width)
	cost := heads * g.TQ * g.TK * g.Dim
	if heads >= manyHeads {
		t.pass = passHead
		d.fork(t, heads, 5*cost)
		return
	}
	t.pass = passKeys
	d.fork(t, heads*t.tiles, 4*cost)
	t.pass = passQueries
	d.fork(t, heads*t.queries, 3*cost)
}

func (t *attentionBack) run(w *worker, chunk int) {
	g := &t.g
	switch t.pass {
	case passDots:
		bh, i0 := chunk/t.queries, chunk%t.queries*backQueries
		b, head := bh/g.Heads, bh%g.Heads*g.Dim
		for i := i0; i < min(i0+backQueries, g.TQ); i++ {
			row := b*g.TQ + i
			t.dots[bh*g.TQ+i] = t.d.kernels.Dot(t.do.p[row*t.do.stride+head:][:g.Dim], t.o.p[row*t.o.stride+head:][:g.Dim])
		}
	case passHead:
		for j := range t.tiles {
			t.keyTile(w, chunk, j, true)
		}
		t.clearUnseen(chunk, 0, g.TQ)
	case passKeys:
		t.keyTile(w, chunk/t.tiles, chunk%t.tiles, false)
	case passQueries:
		bh, i := chunk/t.queries, chunk%t.queries
		for j := range t.tiles {
			if t.sees(i, j) {
				t.probabilities(w, bh, i, j)
				t.addDQ(w, bh, i, j)
			}
		}
		t.clearUnseen(bh, i*backQueries, min((i+1)*backQueries, g.TQ))
	}
}

// sees reports whether any query of tile i sees any key of tile j.
func (t *attentionBack) sees(i, j int) bool {
	return !t.g.Causal || min((i+1)*backQueries, t.g.TQ) > j*keyTile
}

// clearUnseen zeroes dq where there are no keys at all.
func (t *attentionBack) clearUnseen(bh, i0, i1 int) {
	if t.g.TK > 0 {
		return
	}
	for i := i0; i < i1; i++ {
		clear(t.dq.p[(bh/t.g.Heads*t.g.TQ+i)*t.dq.stride+bh%t.g.Heads*t.g.Dim:][:t.g.Dim])
	}
}

// keyTile makes dk and dv of one key tile over all query tiles in order, and
// adds to dq if asked.
func (t *attentionBack) keyTile(w *worker, bh, j int, dq bool) {
	g := &t.g
	b, head := bh/g.Heads, bh%g.Heads*g.Dim
	n := min(keyTile, g.TK-j*keyTile)
	row := b*g.TK + j*keyTile
	dk, dv := t.dk.p[row*t.dk.stride+head:], t.dv.p[row*t.dv.stride+head:]
	first := true
	for i := range t.queries {
		if !t.sees(i, j) {
			continue
		}
		p, ds := t.probabilities(w, bh, i, j)
		m := min(backQueries, g.TQ-i*backQueries)
		from := bh*headLen(g.TQ, g.Dim, false) + i*backQueries*kernel.Panel
		s := kernel.Segment{A: &p[0], ARow: 1, ACol: keyTile, K: m}
		t.d.weigh(w, dv, t.dv.stride, s, t.dos[from:], g.TQ, n, g.Dim, !first)
		s.A = &ds[0]
		t.d.weigh(w, dk, t.dk.stride, s, t.qs[from:], g.TQ, n, g.Dim, !first)
		first = false
		if dq {
			t.addDQ(w, bh, i, j)
		}
	}
	if first {
		for r := range n {
			clear(dk[r*t.dk.stride:][:g.Dim])
			clear(dv[r*t.dv.stride:][:g.Dim])
		}
	}
}

// probabilities computes p and ds = scale·p·(dp−dot) of query tile i and key
// tile j, [backQueries, keyTile] each, in w's scratch.
func (t *attentionBack) probabilities(w *worker, bh, i, j int) (p, ds []float32) {
	g, set := &t.g, t.d.kernels
	b, head := bh/g.Heads, bh%g.Heads*g.Dim
	q0, k0 := i*backQueries, j*keyTile
	m, n := min(backQueries, g.TQ-q0), min(keyTile, g.TK-k0)
	p, ds = w.scratch[:backQueries*keyTile], w.scratch[backQueries*keyTile:][:backQueries*keyTile]
	panel := bh*headLen(g.TK, g.Dim, true) + k0*g.Dim
	row := b*g.TQ + q0
	t.d.scores(w, p, t.q.p[row*t.q.stride+head:], t.q.stride, t.keys[panel:], m, n, g.Dim)
	t.d.scores(w, ds, t.do.p[row*t.do.stride+head:], t.do.stride, t.values[panel:], m, n, g.Dim)
	for r := range m {
		pr, dr := p[r*keyTile:][:n], ds[r*keyTile:][:n]
		if g.Causal {
			seen := min(max(q0+r+1-k0, 0), n)
			clear(pr[seen:])
			clear(dr[seen:])
			pr, dr = pr[:seen], dr[:seen]
		}
		at := bh*g.TQ + q0 + r
		set.ExpSum(pr, pr, g.Scale, t.lse[at])
		set.SoftmaxBack(dr, pr, dr, t.dots[at], g.Scale)
	}
	return p, ds
}

// addDQ adds ds·k of one pair of tiles to dq, or stores it for the first keys.
func (t *attentionBack) addDQ(w *worker, bh, i, j int) {
	g := &t.g
	b, head := bh/g.Heads, bh%g.Heads*g.Dim
	m, n := min(backQueries, g.TQ-i*backQueries), min(keyTile, g.TK-j*keyTile)
	ds := w.scratch[backQueries*keyTile:]
	s := kernel.Segment{A: &ds[0], ARow: keyTile, ACol: 1, K: n}
	dq := t.dq.p[(b*g.TQ+i*backQueries)*t.dq.stride+head:]
	keys := t.ks[bh*headLen(g.TK, g.Dim, false)+j*keyTile*kernel.Panel:]
	t.d.weigh(w, dq, t.dq.stride, s, keys, g.TK, m, g.Dim, j > 0)
}
