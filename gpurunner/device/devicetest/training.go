package devicetest

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func lossOf(pred, target, mask, weight []float64, g device.LossGeom) []float64 {
	l := make([]float64, g.N)
	for i, p := range pred {
		n, px := i/g.C/g.Pixels, i/g.C
		e := p - target[i]
		if mask != nil {
			e *= mask[px]
		}
		w := 1.0
		if weight != nil {
			w = weight[n]
		}
		l[n] += w * e * e / float64(g.Pixels*g.C*g.N)
	}
	return l
}

func testLoss(r *rig) {
	for _, g := range []device.LossGeom{{N: 1, Pixels: 1, C: 1}, {N: 2, Pixels: 15, C: 4}, {N: 3, Pixels: 9, C: 1}} {
		for options := range 4 {
			r.sub(fmt.Sprintf("%dx%dx%d/%02b", g.N, g.Pixels, g.C, options), func(r *rig) {
				size := g.N * g.Pixels * g.C
				pred, target := r.normals(size), r.normals(size)
				var mask, weight []float64
				var ma, wa device.Array
				if options&1 != 0 {
					mask = r.normals(g.N * g.Pixels)
					ma = r.place(mask)
				}
				if options&2 != 0 {
					weight = r.normals(g.N)
					wa = r.place(weight)
				}
				l, dp := r.empty(g.N), r.empty(size)
				pa, ta := r.place(pred), r.place(target)
				r.Loss(l, dp, pa, ta, ma, wa, g)
				r.near("loss", r.download(l), lossOf(pred, target, mask, weight, g), close32)
				want := gradient(func(p []float64) []float64 { return lossOf(p, target, mask, weight, g) }, pred, ones(g.N))
				r.near("dpred", r.download(dp), want, close32)
				l = r.empty(g.N)
				r.Loss(l, device.Array{}, pa, ta, ma, wa, g)
				r.near("loss alone", r.download(l), lossOf(pred, target, mask, weight, g), close32)
			})
		}
	}
}

func testSumSquares(r *rig) {
	for _, n := range []int{1, 50, 30000, 0} {
		r.sub(fmt.Sprint(n), func(r *rig) {
			x := r.normals(n)
			sum := 0.0
			for _, v := range x {
				sum += v * v
			}
			out, xa := r.empty(1), r.place(x)
			r.SumSquares(out, xa, 0)
			r.near("sum", r.download(out), []float64{sum}, close32)
			r.SumSquares(out, xa, 1)
			r.near("added", r.download(out), []float64{2 * sum}, close32)
			factor := r.empty(1)
			r.ClipFactor(factor, r.place([]float64{9}), 1.5)
			r.near("clipped", r.download(factor), []float64{0.5}, close32)
			r.ClipFactor(factor, r.place([]float64{9}), 4)
			r.near("not clipped", r.download(factor), []float64{1}, exact)
		})
	}
}

func testAdamW(r *rig) {
	const n = 9000
	const beta1, beta2 = 0.9, 0.999
	p, m, v := r.normals(n), make([]float64, n), make([]float64, n)
	pa, ma, va := r.place(p), r.place(m), r.place(v)
	segments := []struct {
		off, len       int
		lr, eps, decay float64
	}{{0, 8500, 1e-2, 1e-8, 0.1}, {8501, 3, 3e-3, 1e-6, 0}, {8600, 400, 0, 1e-8, 0.01}}
	for step := 1; step <= 3; step++ {
		g := r.normals(n)
		clip := 0.5 + float64(step)/16
		var args []device.AdamWSegment
		bias1, bias2 := 1-math.Pow(beta1, float64(step)), 1-math.Pow(beta2, float64(step))
		for _, s := range segments {
			args = append(args, device.AdamWSegment{Off: s.off, Len: s.len,
				Hyper: r.place([]float64{s.lr, beta1, beta2, s.eps, s.decay, bias1, bias2})})
			for i := s.off; i < s.off+s.len; i++ {
				gi := g[i] * clip
				p[i] *= 1 - s.lr*s.decay
				m[i] = beta1*m[i] + (1-beta1)*gi
				v[i] = beta2*v[i] + (1-beta2)*gi*gi
				p[i] -= s.lr / bias1 * m[i] / (math.Sqrt(v[i])/math.Sqrt(bias2) + s.eps)
			}
		}
		r.AdamW(device.Slab{Value: pa, Grad: r.place(g), M: ma, V: va}, args, r.place([]float64{clip}))
	}
	r.near("values", r.download(pa), p, 1e-6)
	r.near("first moments", r.download(ma), m, 1e-6)
	r.near("second moments", r.download(va), v, 1e-6)
	// Without a clip factor the gradient stays as it is.
	one := r.place([]float64{0})
	g := device.Slab{Value: one, Grad: r.place([]float64{2}), M: r.place([]float64{0}), V: r.place([]float64{0})}
	r.AdamW(g, []device.AdamWSegment{{Len: 1, Hyper: r.place([]float64{0.1, 0.5, 0.5, 0, 0, 0.5, 0.5})}}, device.Array{})
	r.near("a first step is lr long", r.download(one), []float64{-0.1}, 1e-6)
}

// testNormal holds the mapping: numbers 2i and 2i+1 are Box and Muller's
// cosine and sine of words 2i (radius) and 2i+1 (angle), upper 24 bits.
func testNormal(r *rig) {
	const n = 20001
	dst := r.empty(n)
	draw := device.Draw{Key: 77, Stream: 5, Micro: 0, Step: r.ids(3)}
	r.Normal(dst, draw)
	got := r.download(dst)
	want := make([]float64, n)
	sum, squares := 0.0, 0.0
	for i := range want {
		a, b := word(i&^1, [3]uint32{5, 3, 0}, 77), word(i|1, [3]uint32{5, 3, 0}, 77)
		radius := math.Sqrt(-2 * math.Log(float64(a>>8+1)/(1<<24)))
		sin, cos := math.Sincos(2 * math.Pi * float64(b>>8) / (1 << 24))
		want[i] = radius * cos
		if i%2 == 1 {
			want[i] = radius * sin
		}
		sum += got[i]
		squares += got[i] * got[i]
	}
	r.near("numbers", got, want, 1e-6)
	if mean, square := sum/n, squares/n; math.Abs(mean) > 0.03 || math.Abs(square-1) > 0.05 {
		r.Errorf("mean %v, mean square %v", mean, square)
	}
	again := r.empty(7)
	r.Normal(again, draw)
	r.near("a prefix", r.download(again), got[:7], exact)
}
