package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

type attention struct {
	y, q, k, v *Value
	g          device.AttentionGeom
	saved      [4]*tensor.Tensor // q, k, v, o
	lse        *tensor.Tensor
}

// Attention computes softmax(scale·q·kᵀ)·v over q [B,TQ,heads·d] and k, v
// [B,TK,heads·d].
func (p *Pass) Attention(q, k, v *Value, heads int, scale float32, causal bool) *Value {
	p.check()
	g := device.AttentionGeom{
		Batch: q.T.Dim(0), Heads: heads, Dim: q.T.Dim(2) / heads,
		TQ: q.T.Dim(1), TK: k.T.Dim(1), Scale: scale, Causal: causal,
	}
	mustShape("attention's keys", k.T.Shape, g.Batch, g.TK, g.Heads*g.Dim)
	mustShape("attention's values", v.T.Shape, k.T.Shape...)
	o := p.new(q.T.Shape...)
	out := &Value{T: o}
	needs := p.tape != nil && (q.needs || k.needs || v.needs)
	var lse *tensor.Tensor
	var lseData device.Array
	if needs {
		lse = p.new(g.Batch, g.Heads, g.TQ)
		lseData = lse.Data
	}
	p.Device().Attention(o.Matrix(), lseData, q.T.Matrix(), k.T.Matrix(), v.T.Matrix(), g)
	if needs {
		out.needs = true
		p.record(&attention{y: out, q: q, k: k, v: v, g: g, lse: lse,
			saved: [4]*tensor.Tensor{q.T.Retain(), k.T.Retain(), v.T.Retain(), o.Retain()}})
	}
	return out
}

func (op *attention) output() *Value { return op.y }

func (op *attention) release() {
	for i, t := range op.saved {
		t.Release()
		op.saved[i] = nil
	}
	op.lse.Release()
	op.lse = nil
}

func (op *attention) backward(p *Pass, dy *tensor.Tensor) {
	q, k, v, o := op.saved[0], op.saved[1], op.saved[2], op.saved[3]
	dq, dk, dv := p.new(q.Shape...), p.new(k.Shape...), p.new(v.Shape...)
	p.Device().AttentionBack(dq.Matrix(), dk.Matrix(), dv.Matrix(), dy.Matrix(), o.Matrix(),
		q.Matrix(), k.Matrix(), v.Matrix(), op.lse.Data, op.g)
	if op.g.TK == 1 {
		// A single token has all of the attention whatever q and k are. What
		// rounding leaves of their gradient AdamW would scale up to whole steps.
		p.Device().Fill(dq.Data, 0)
		p.Device().Fill(dk.Data, 0)
	}
	for _, part := range []struct {
		v *Value
		g *tensor.Tensor
	}{{op.q, dq}, {op.k, dk}, {op.v, dv}} {
		if part.v.needs {
			p.giveGrad(part.v, part.g)
		}
		part.g.Release()
	}
}
