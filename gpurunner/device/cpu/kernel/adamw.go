package kernel

import "math"

// AdamWStep holds the numbers of one AdamW step (Loshchilov and Hutter,
// arXiv:1711.05101, in PyTorch's order of operations) over a segment:
//
//	p ← p·(1−lr·decay)
//	g ← clip·g
//	m ← m + (1−β₁)·(g−m)
//	v ← β₂·v + (1−β₂)·g²
//	p ← p − (lr/bias₁)·m/(√v/√bias₂ + eps),  biasᵢ = 1−βᵢᵗ
type AdamWStep struct {
	Keep      float32 // 1−lr·decay
	Clip      float32 // factor on the gradient
	OneMinus1 float32 // 1−β₁
	Beta2     float32
	OneMinus2 float32 // 1−β₂
	RootBias2 float32 // √bias₂
	Eps       float32
	Rate      float32 // lr/bias₁
}

// NewAdamWStep computes the numbers of step t (counted from 1) in float64.
func NewAdamWStep(lr, beta1, beta2, eps, decay, clip float64, t int) AdamWStep {
	return AdamWStep{
		Keep:      float32(1 - lr*decay),
		Clip:      float32(clip),
		OneMinus1: float32(1 - beta1),
		Beta2:     float32(beta2),
		OneMinus2: float32(1 - beta2),
		RootBias2: float32(math.Sqrt(1 - math.Pow(beta2, float64(t)))),
		Eps:       float32(eps),
		Rate:      float32(lr / (1 - math.Pow(beta1, float64(t)))),
	}
}

func adamWGeneric(p, g, m, v []float32, h *AdamWStep) {
	g, m, v = g[:len(p)], m[:len(p)], v[:len(p)]
	for i := range p {
		gi := float32(h.Clip * g[i])
		mi := m[i] + float32(h.OneMinus1*(gi-m[i]))
		vi := float32(float32(h.OneMinus2*gi)*gi) + float32(h.Beta2*v[i])
		m[i], v[i] = mi, vi
		den := float32(math.Sqrt(float64(vi)))/h.RootBias2 + h.Eps
		p[i] = float32(h.Keep*p[i]) - float32(h.Rate*(mi/den))
	}
}
