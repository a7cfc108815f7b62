//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func checkAttention(op string, g device.AttentionGeom) {
	if g.Batch < 0 || g.Heads < 0 || g.Dim < 1 || g.TQ < 0 || g.TK < 0 || !(g.Scale >= 0) {
		badGeometry(op, g, "impossible")
	}
}

const attentionRows = 16 // of a block, as in attention.cu

// width is the smallest of the kernels' head sizes that holds dim, or the
// largest, of which several groups then make up a head.
func width(dim int, sizes ...int) int {
	for _, s := range sizes {
		if dim <= s {
			return s
		}
	}
	return sizes[len(sizes)-1]
}

// shape ends the arguments of attention's kernels.
func shape(g device.AttentionGeom) []arg {
	return []arg{whole(g.Heads), whole(g.TQ), whole(g.TK), whole(g.Dim), fraction(g.Scale), boolean(g.Causal)}
}

func views(m ...matrix) (args []arg) {
	for _, v := range m {
		args = append(args, address(v.p), whole(v.stride))
	}
	return args
}

// heads are the operands of an attention, found and checked.
type heads struct {
	g              device.AttentionGeom
	o, q, k, v     matrix
	dO, dq, dk, dv matrix // of backward
	lse, dots      uint64
	heads          int // in all samples
}

// Attention implements device.Attentions.
func (d *Device) Attention(o device.Matrix, lse device.Array, q, k, v device.Matrix, g device.AttentionGeom) {
	const op = "Attention"
	checkAttention(op, g)
	cols := g.Heads * g.Dim
	h := heads{g: g, heads: g.Batch * g.Heads,
		o: d.matOf(op, "o", o, g.Batch*g.TQ, cols), q: d.matOf(op, "q", q, g.Batch*g.TQ, cols),
		k: d.matOf(op, "k", k, g.Batch*g.TK, cols), v: d.matOf(op, "v", v, g.Batch*g.TK, cols),
		lse: d.optional(op, "lse", lse, g.Batch*g.Heads*g.TQ)}
	switch {
	case !d.tensorCores():
		size := width(g.Dim, 64, 160, 512)
		d.launch(fmt.Sprintf("attention_%d", size), grid{ceil(g.TQ, attentionRows), h.heads, ceil(g.Dim, size)}, 128, h.forward(shape(g)...)...)
	case g.Dim <= widestHead:
		if r, ok := d.rounded(&h, h.q, h.k, h.v); ok {
			d.launch(fmt.Sprintf("mma_attention_%v_%d", d.options.Precision, r.wide), grid{ceil(g.TQ, tensorRows), h.heads, 1}, 128,
				append(append(append(views(h.o), address(h.lse)), r.at...), shape(g)...)...)
			d.Release(r.memory)
		}
	default:
		d.wideAttention(&h)
	}
}

const (
	tensorRows = 64 // of a block, as in mma_attention.cu
	tensorStep = 32 // of the other axis in backward
	widestHead = 160
)

var tensorHeads = []int{48, 64, 80, widestHead}

// forward are the operands of the forward kernels, and last.
func (h *heads) forward(last ...arg) []arg {
	return append(append(append(views(h.o), address(h.lse)), views(h.q, h.k, h.v)...), last...)
}

// rounded are operands of tensor cores' attention: [samples·heads,tokens,wide]
// halves each, one after the other.
type rounded struct {
	wide   int
	memory *buffer
	at     []arg
}

// rounded rounds up to four matrices of tokens, the queries' first, keys' and
// values' last.
func (d *Device) rounded(h *heads, sources ...matrix) (r rounded, ok bool) {
	r.wide = width(h.g.Dim, tensorHeads...)
	fast := h.g.Dim%4 == 0
	sizes, total, longest := make([]int, len(sources)), 0, 0
	for i, s := range sources {
		sizes[i] = s.rows * h.g.Heads * r.wide
		total += sizes[i]
		longest = max(longest, sizes[i])
		fast = fast && s.p%16 == 0 && s.stride%4 == 0
	}
	if r.memory = d.temp(max(2*total, 2)); r.memory == nil {
		return r, false
	}
	var args []arg
	to := r.memory.address
	for i := range 4 {
		if i >= len(sources) {
			args = append(args, address(0), address(0), whole(0), whole(0))
			continue
		}
		tokens := h.g.TQ
		if i >= len(sources)-2 {
			tokens = h.g.TK
		}
		args = append(args, address(to), address(sources[i].p), whole(sources[i].stride), whole(tokens))
		r.at = append(r.at, address(to))
		to += uint64(2 * sizes[i])
	}
	d.launch(fmt.Sprintf("mma_heads_%v", d.options.Precision), grid{ceil(longest, 8*256), len(sources), 1}, 256,
		append(args, whole(h.g.Batch), whole(h.g.Heads), whole(h.g.Dim), whole(r.wide), boolean(fast))...)
	return r, true
}

// Scores of a head that is too wide for the tensor cores' kernels lie in memory,
// a block of queries at a time.
const (
	wideScores = 16 << 20 // elements of a block
	leastWide  = 64       // queries of a block
)

// wideAttention is attention as two products and a softmax between them: the
// one head of 512 dimensions of an autoencoder.
func (d *Device) wideAttention(h *heads) {
	g := &h.g
	if h.heads*g.TQ == 0 {
		return
	}
	rows := min(max(wideScores/max(g.TK, 1), leastWide), g.TQ)
	scores := d.temp(max(rows*g.TK*4, 4))
	if scores == nil {
		return
	}
	defer d.Release(scores)
	for i := range h.heads {
		b, head := i/g.Heads, i%g.Heads*g.Dim
		k, v := h.k.below(b*g.TK, g.TK).columns(head, g.Dim), h.v.below(b*g.TK, g.TK).columns(head, g.Dim)
		for from := 0; from < g.TQ; from += rows {
			n := min(rows, g.TQ-from)
			q, o := h.q.below(b*g.TQ+from, n).columns(head, g.Dim), h.o.below(b*g.TQ+from, n).columns(head, g.Dim)
			s := matrix{p: scores.address, rows: n, cols: g.TK, stride: g.TK}
			d.matmul(s, q, k, false, true, g.Dim, d.epilogue("Attention", device.Epilogue{}, s, g.Scale))
			lse := uint64(0)
			if h.lse != 0 {
				lse = h.lse + uint64(4*(i*g.TQ+from))
			}
			d.launch("softmax_rows", grid{n, 1, 1}, 256, address(s.p), whole(g.TK), address(lse), whole(from), boolean(g.Causal))
			d.matmul(o, s, v, false, false, g.TK, d.epilogue("Attention", device.Epilogue{}, o, 1))
		}
	}
}

// AttentionBack implements device.Attentions.
func (d *Device) AttentionBack(dq, dk, dv, do, o, q, k, v device.Matrix, lse device.Array, g device.AttentionGeom) {
	const op = "AttentionBack"
	checkAttention(op, g)
	cols, nq, nk := g.Heads*g.Dim, g.Batch*g.TQ, g.Batch*g.TK
	h := heads{g: g, heads: g.Batch * g.Heads,
		dq: d.matOf(op, "dq", dq, nq, cols), dk: d.matOf(op, "dk", dk, nk, cols), dv: d.matOf(op, "dv", dv, nk, cols),
		dO: d.matOf(op, "do", do, nq, cols), o: d.matOf(op, "o", o, nq, cols), q: d.matOf(op, "q", q, nq, cols),
		k: d.matOf(op, "k", k, nk, cols), v: d.matOf(op, "v", v, nk, cols),
		lse: d.f32n(op, "lse", lse, g.Batch*g.Heads*g.TQ)}
	dots := d.temp(max(h.heads*g.TQ*4, 4))
	if dots == nil {
		return
	}
	defer d.Release(dots)
	h.dots = dots.address
	d.launch("attention_dots", grid{ceil(g.TQ, 4), h.heads, 1}, 128,
		append(append([]arg{address(h.dots)}, views(h.dO, h.o)...), whole(g.Heads), whole(g.TQ), whole(g.Dim))...)
	if d.options.Precision == device.BF16 && g.Dim <= widestHead {
		r, ok := d.rounded(&h, h.dO, h.q, h.k, h.v)
		if !ok {
			return
		}
		defer d.Release(r.memory)
		shared := 2*(2*tensorRows+4*tensorStep)*(r.wide+8) + 4*4*tensorStep // see Kept
		last := append(append(r.at, address(h.lse), address(h.dots)), shape(g)...)
		d.launchShared(fmt.Sprintf("mma_attention_back_keys_bf16_%d", r.wide), grid{ceil(g.TK, tensorRows), h.heads, 1}, 128, shared,
			append(views(h.dk, h.dv), last...)...)
		d.launchShared(fmt.Sprintf("mma_attention_back_queries_bf16_%d", r.wide), grid{ceil(g.TQ, tensorRows), h.heads, 1}, 128, shared,
			append(views(h.dq), last...)...)
		return
	}
	size := width(g.Dim, 64, 160, 256)
	groups := ceil(g.Dim, size)
	d.launch(fmt.Sprintf("attention_back_keys_%d", size), grid{ceil(g.TK, attentionRows), h.heads, groups}, 128,
		h.backward(views(h.dk, h.dv), shape(g))...)
	d.launch(fmt.Sprintf("attention_back_queries_%d", size), grid{ceil(g.TQ, attentionRows), h.heads, groups}, 128,
		h.backward(views(h.dq), shape(g))...)
}

// backward are the operands of the backward kernels, between first and last.
func (h *heads) backward(first, last []arg) []arg {
	args := append(append(first, views(h.dO, h.q, h.k, h.v)...), address(h.lse), address(h.dots))
	return append(args, last...)
}
