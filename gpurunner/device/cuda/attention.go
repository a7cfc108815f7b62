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

// Attention implements device.Attentions.
func (d *Device) Attention(o device.Matrix, lse device.Array, q, k, v device.Matrix, g device.AttentionGeom) {
	const op = "Attention"
	checkAttention(op, g)
	cols := g.Heads * g.Dim
	om, qm := d.matOf(op, "o", o, g.Batch*g.TQ, cols), d.matOf(op, "q", q, g.Batch*g.TQ, cols)
	km, vm := d.matOf(op, "k", k, g.Batch*g.TK, cols), d.matOf(op, "v", v, g.Batch*g.TK, cols)
	sums := d.optional(op, "lse", lse, g.Batch*g.Heads*g.TQ)
	size := width(g.Dim, 64, 160, 512)
	args := append(append(append(views(om), address(sums)), views(qm, km, vm)...), shape(g)...)
	d.launch(fmt.Sprintf("attention_%d", size), grid{ceil(g.TQ, attentionRows), g.Batch * g.Heads, ceil(g.Dim, size)}, 128, args...)
}

// AttentionBack implements device.Attentions.
func (d *Device) AttentionBack(dq, dk, dv, do, o, q, k, v device.Matrix, lse device.Array, g device.AttentionGeom) {
	const op = "AttentionBack"
	checkAttention(op, g)
	cols, nq, nk := g.Heads*g.Dim, g.Batch*g.TQ, g.Batch*g.TK
	dqm, dkm, dvm := d.matOf(op, "dq", dq, nq, cols), d.matOf(op, "dk", dk, nk, cols), d.matOf(op, "dv", dv, nk, cols)
	dom, om, qm := d.matOf(op, "do", do, nq, cols), d.matOf(op, "o", o, nq, cols), d.matOf(op, "q", q, nq, cols)
	km, vm := d.matOf(op, "k", k, nk, cols), d.matOf(op, "v", v, nk, cols)
	sums := d.f32n(op, "lse", lse, g.Batch*g.Heads*g.TQ)
	heads := g.Batch * g.Heads
	dots := d.temp(heads * g.TQ * 4)
	if dots == nil {
		return
	}
	defer d.Release(dots)
	d.launch("attention_dots", grid{ceil(g.TQ, 4), heads, 1}, 128,
		append(append([]arg{address(dots.address)}, views(dom, om)...), whole(g.Heads), whole(g.TQ), whole(g.Dim))...)
	size := width(g.Dim, 64, 160, 256)
	last := append([]arg{address(sums), address(dots.address)}, shape(g)...)
	in := views(dom, qm, km, vm)
	d.launch(fmt.Sprintf("attention_back_keys_%d", size), grid{ceil(g.TK, attentionRows), heads, ceil(g.Dim, size)}, 128,
		append(append(views(dkm, dvm), in...), last...)...)
	d.launch(fmt.Sprintf("attention_back_queries_%d", size), grid{ceil(g.TQ, attentionRows), heads, ceil(g.Dim, size)}, 128,
		append(append(views(dqm), in...), last...)...)
}
