package train

import (
	"math"
	"testing"
)

// gradientNoise is how far a gradient in float32 lies from the same in float64,
// over the largest of its tensor: the table of scripts/parity/README.md has
// 2.0e-5 for the placeholder rows, and the first gradients of the matrices come
// to 2.5e-5.
const gradientNoise = 2e-5

// drift bounds how far the original and a replay come apart because their
// gradients round differently. AdamW divides by the root of the second moment,
// so an element's first step is the learning rate times g/(|g|+ε): where g is
// within rounding of zero, rounding decides over all of it. Elsewhere the bound
// is far below the tolerance of the weights, which it is added to.
type drift struct {
	grads [][]float64 // of every update, after clipping
	noise []float64   // of every update: how far each gradient may be off
	m, v  []float64
	fog   float64   // v of the noise alone
	step  []float64 // what the last update subtracted
	bound []float64 // of the values
}

func newDrift(n int) *drift {
	return &drift{m: make([]float64, n), v: make([]float64, n), step: make([]float64, n), bound: make([]float64, n)}
}

// update takes the gradient of an update, which clipping multiplies by clip.
func (d *drift) update(grad []float32, clip, rate float64) {
	g, top := make([]float64, len(grad)), 0.0
	for i, x := range grad {
		g[i] = clip * float64(x)
		top = math.Max(top, math.Abs(g[i]))
	}
	d.grads, d.noise = append(d.grads, g), append(d.noise, gradientNoise*top)
	t := float64(len(d.grads))
	bias1, bias2 := 1-math.Pow(beta1, t), 1-math.Pow(beta2, t)
	d.fog = beta2*d.fog + (1-beta2)*d.noise[len(d.noise)-1]*d.noise[len(d.noise)-1]
	for i := range g {
		d.m[i] = beta1*d.m[i] + (1-beta1)*g[i]
		d.v[i] = beta2*d.v[i] + (1-beta2)*g[i]*g[i]
		root := math.Sqrt(d.v[i] / bias2)
		d.step[i] = rate * d.m[i] / bias1 / (root + epsilon)
		d.bound[i] += rate * math.Min(2, d.slack(i, d.m[i]/bias1, root, bias1, bias2))
	}
}

// slack is Σ |∂u/∂gₖ|·noiseₖ of u = m/(root+ε), m and root free of bias. An
// element none of whose gradients stood out of the noise may go either way.
func (d *drift) slack(i int, m, root, bias1, bias2 float64) float64 {
	if d.fog > 0 && d.v[i] <= 16*d.fog {
		return 2
	}
	den, sum := root+epsilon, 0.0
	p1, p2 := (1-beta1)/bias1, (1-beta2)/bias2
	for k := len(d.grads) - 1; k >= 0; k-- {
		slope := p1 / den
		if root > 0 {
			slope -= m / den / den * p2 * d.grads[k][i] / root
		}
		sum += math.Abs(slope) * d.noise[k]
		p1, p2 = p1*beta1, p2*beta2
	}
	return sum
}

// pulled takes that the norms of rows were pulled after the update of before
// to after, and the bound with them.
func (d *drift) pulled(before, after []float32, width int) {
	for lo := 0; lo < len(before); lo += width {
		var was, is float64
		for i := lo; i < lo+width; i++ {
			x := float64(before[i]) - d.step[i]
			was += x * x
			is += float64(after[i]) * float64(after[i])
		}
		for i := lo; i < lo+width; i++ {
			d.bound[i] *= math.Sqrt(is / was)
		}
	}
}

// The bound holds for what AdamW makes of gradients that are off, and is
// nothing to gradients that are not near zero.
func TestDrift(t *testing.T) {
	const rate = 1e-3
	for _, c := range []struct {
		name        string
		grads       []float64 // the other element's is 1
		least, most float64   // of the bound
	}{
		{"usual", []float64{0.3, -0.2, 0.5, 0.1}, 1e-9, 2e-7},
		{"first in the noise", []float64{1e-6, 0.3}, 2e-3, 2.2e-3},
		{"first zero", []float64{0, 0.3}, 2e-3, 2.2e-3},
		{"always in the noise", []float64{1e-6, -1e-6, 1e-6}, 6e-3, 6e-3},
		{"small", []float64{1e-3, -2e-3, 1e-3}, 1e-7, 1e-4},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrift(2)
			for _, g := range c.grads {
				d.update([]float32{float32(g), 1}, 1, rate)
			}
			if b := d.bound[0]; !(b >= c.least && b <= c.most) {
				t.Errorf("bound %.3g, want between %g and %g", b, c.least, c.most)
			}
			want := stepped(c.grads, func(int) float64 { return 0 }, rate)
			for signs := range 1 << len(c.grads) {
				off := math.Abs(stepped(c.grads, func(k int) float64 { return gradientNoise * float64(1-signs>>k&1*2) }, rate) - want)
				if off > 1.01*d.bound[0] {
					t.Errorf("signs %b: off by %.3g, bound %.3g", signs, off, d.bound[0])
				}
			}
		})
	}
}

// stepped is where AdamW takes a value from zero.
func stepped(grads []float64, noise func(k int) float64, rate float64) (x float64) {
	var m, v float64
	for k, g := range grads {
		g += noise(k)
		m = beta1*m + (1-beta1)*g
		v = beta2*v + (1-beta2)*g*g
		t := float64(k + 1)
		x -= rate * m / (1 - math.Pow(beta1, t)) / (math.Sqrt(v/(1-math.Pow(beta2, t))) + epsilon)
	}
	return x
}
