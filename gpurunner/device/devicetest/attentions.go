package devicetest

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// attention returns o and, per sample, head and row, the log of the sum of
// exponentials.
func attention(q, k, v []float64, g device.AttentionGeom) (o, lse []float64) {
	width := g.Heads * g.Dim
	o, lse = make([]float64, g.Batch*g.TQ*width), make([]float64, g.Batch*g.Heads*g.TQ)
	for i := range lse {
		b, h, row := i/g.TQ/g.Heads, i/g.TQ%g.Heads, i%g.TQ
		keys := g.TK
		if g.Causal {
			keys = min(keys, row+1)
		}
		s := make([]float64, keys)
		top := math.Inf(-1)
		for j := range s {
			for c := range g.Dim {
				s[j] += q[(b*g.TQ+row)*width+h*g.Dim+c] * k[(b*g.TK+j)*width+h*g.Dim+c] * float64(g.Scale)
			}
			top = max(top, s[j])
		}
		sum := 0.0
		for j := range s {
			s[j] = math.Exp(s[j] - top)
			sum += s[j]
		}
		lse[i] = top + math.Log(sum)
		for j := range s {
			for c := range g.Dim {
				o[(b*g.TQ+row)*width+h*g.Dim+c] += s[j] / sum * v[(b*g.TK+j)*width+h*g.Dim+c]
			}
		}
	}
	return o, lse
}

// attentionGrads differentiates attention by the product rule.
func attentionGrads(q, k, v, do []float64, g device.AttentionGeom) (dq, dk, dv []float64) {
	o, lse := attention(q, k, v, g)
	width := g.Heads * g.Dim
	dq, dk, dv = make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
	for i := range lse {
		b, h, row := i/g.TQ/g.Heads, i/g.TQ%g.Heads, i%g.TQ
		keys := g.TK
		if g.Causal {
			keys = min(keys, row+1)
		}
		qi := (b*g.TQ+row)*width + h*g.Dim
		for j := range keys {
			kj := (b*g.TK+j)*width + h*g.Dim
			s, dp := 0.0, 0.0
			for c := range g.Dim {
				s += q[qi+c] * k[kj+c] * float64(g.Scale)
				dp += do[qi+c] * (v[kj+c] - o[qi+c])
			}
			p := math.Exp(s - lse[i])
			for c := range g.Dim {
				dv[kj+c] += p * do[qi+c]
				dq[qi+c] += p * dp * float64(g.Scale) * k[kj+c]
				dk[kj+c] += p * dp * float64(g.Scale) * q[qi+c]
			}
		}
	}
	return dq, dk, dv
}

var attentionShapes = []device.AttentionGeom{
	{Batch: 1, Heads: 1, Dim: 1, TQ: 1, TK: 1, Scale: 1},
	{Batch: 2, Heads: 3, Dim: 5, TQ: 4, TK: 7, Scale: 0.4},
	{Batch: 1, Heads: 2, Dim: 40, TQ: 130, TK: 77, Scale: 0.16},
	{Batch: 1, Heads: 1, Dim: 64, TQ: 70, TK: 300, Scale: 0.125},
	{Batch: 2, Heads: 5, Dim: 16, TQ: 60, TK: 270, Scale: 0.25},
	{Batch: 1, Heads: 2, Dim: 80, TQ: 33, TK: 33, Scale: 0.11},
	{Batch: 1, Heads: 1, Dim: 160, TQ: 16, TK: 16, Scale: 0.08},
	{Batch: 1, Heads: 1, Dim: 512, TQ: 60, TK: 60, Scale: 0.044},
	{Batch: 1, Heads: 1, Dim: 520, TQ: 9, TK: 40, Scale: 0.044},
	{Batch: 2, Heads: 2, Dim: 8, TQ: 77, TK: 77, Scale: 0.35, Causal: true},
	{Batch: 1, Heads: 9, Dim: 3, TQ: 300, TK: 300, Scale: 0.6, Causal: true},
	{Batch: 1, Heads: 1, Dim: 7, TQ: 300, TK: 520, Scale: 0.4, Causal: true},
	{Batch: 1, Heads: 2, Dim: 4, TQ: 10, TK: 10, Scale: 9}, // one key takes nearly all
}

func attentionName(g device.AttentionGeom) string {
	return fmt.Sprintf("%dx%dx%d/%d,%d,%v", g.Batch, g.Heads, g.Dim, g.TQ, g.TK, g.Causal)
}

func testAttention(r *rig) {
	for _, g := range attentionShapes {
		r.sub(attentionName(g), func(r *rig) {
			width := g.Heads * g.Dim
			q, k, v := r.normals(g.Batch*g.TQ*width), r.normals(g.Batch*g.TK*width), r.normals(g.Batch*g.TK*width)
			want, wantLSE := attention(q, k, v, g)
			qm, km, vm := r.matrix(q, g.Batch*g.TQ, width, true), r.matrix(k, g.Batch*g.TK, width, true), r.matrix(v, g.Batch*g.TK, width, true)
			o, lse := r.matrix(nans(len(q)), g.Batch*g.TQ, width, true), r.empty(len(wantLSE))
			r.Attention(o, lse, qm, km, vm, g)
			r.near("o", r.values(o), want, close32)
			r.near("lse", r.download(lse), wantLSE, close32)
			o = r.matrix(nans(len(q)), g.Batch*g.TQ, width, false)
			r.Attention(o, device.Array{}, qm, km, vm, g)
			r.near("o without lse", r.values(o), want, close32)
		})
	}
	r.sub("LargeScores", func(r *rig) {
		// Scores of a thousand: exp of them overflows, their softmax does not.
		g := device.AttentionGeom{Batch: 1, Heads: 1, Dim: 2, TQ: 3, TK: 400, Scale: 1}
		q, k, v := r.normals(6), r.normals(800), r.normals(800)
		for i := range q {
			q[i] *= 500
		}
		want, _ := attention(q, k, v, g)
		o := r.matrix(nans(6), 3, 2, false)
		r.Attention(o, device.Array{}, r.matrix(q, 3, 2, false), r.matrix(k, 400, 2, false), r.matrix(v, 400, 2, false), g)
		r.near("o", r.values(o), want, 1e-3)
	})
}

func testAttentionBack(r *rig) {
	for _, g := range attentionShapes {
		r.sub(attentionName(g), func(r *rig) {
			width := g.Heads * g.Dim
			nq, nk := g.Batch*g.TQ, g.Batch*g.TK
			q, k, v, do := r.normals(nq*width), r.normals(nk*width), r.normals(nk*width), r.normals(nq*width)
			wq, wk, wv := attentionGrads(q, k, v, do, g)
			qm, km, vm := r.matrix(q, nq, width, true), r.matrix(k, nk, width, true), r.matrix(v, nk, width, true)
			o, lse := r.matrix(nans(nq*width), nq, width, true), r.empty(g.Batch*g.Heads*g.TQ)
			r.Attention(o, lse, qm, km, vm, g)
			dq, dk, dv := r.matrix(nans(nq*width), nq, width, true), r.matrix(nans(nk*width), nk, width, true), r.matrix(nans(nk*width), nk, width, true)
			r.AttentionBack(dq, dk, dv, r.matrix(do, nq, width, true), o, qm, km, vm, lse, g)
			r.near("dq", r.values(dq), wq, 5*close32)
			r.near("dk", r.values(dk), wk, 5*close32)
			r.near("dv", r.values(dv), wv, 5*close32)
		})
	}
	r.sub("Reference", func(r *rig) {
		g := device.AttentionGeom{Batch: 2, Heads: 2, Dim: 3, TQ: 4, TK: 4, Scale: 0.7, Causal: true}
		q, k, v, do := r.normals(48), r.normals(48), r.normals(48), r.normals(48)
		dq, dk, dv := attentionGrads(q, k, v, do, g)
		of := func(q, k, v []float64) []float64 { o, _ := attention(q, k, v, g); return o }
		r.near("dq", dq, gradient(func(q []float64) []float64 { return of(q, k, v) }, q, do), 1e-6)
		r.near("dk", dk, gradient(func(k []float64) []float64 { return of(q, k, v) }, k, do), 1e-6)
		r.near("dv", dv, gradient(func(v []float64) []float64 { return of(q, k, v) }, v, do), 1e-6)
	})
}
