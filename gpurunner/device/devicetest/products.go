package devicetest

import (
	"fmt"
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// matmul is op(a)·op(b) for op(a) [m,k], op(b) [k,n].
func matmul(a, b []float64, m, n, k int, transA, transB bool) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				x, y := i*k+l, l*n+j
				if transA {
					x = l*m + i
				}
				if transB {
					y = j*k + l
				}
				c[i*n+j] += a[x] * b[y]
			}
		}
	}
	return c
}

var productShapes = []struct{ m, n, k int }{
	{1, 1, 1}, {2, 3, 5}, {7, 33, 31}, {15, 64, 40}, {1, 130, 70}, {29, 31, 513},
	{70, 40, 129}, {113, 17, 64}, {3, 5, 1100}, {130, 330, 16}, {5, 4, 0}, {0, 4, 3}, {240, 35, 37},
}

var storageTypes = []device.DType{device.F32, device.F16, device.BF16}

// sub runs f as a subtest with a rig of its own on the same device.
func (r *rig) sub(name string, f func(*rig)) {
	r.Run(name, func(t *testing.T) {
		sub := newRig(t, r.Device)
		sub.coarse, sub.looser = r.coarse, r.looser
		f(sub)
	})
}

func testLinear(r *rig) {
	for _, s := range productShapes {
		for _, typ := range storageTypes {
			if s.n == 0 || s.k == 0 {
				continue
			}
			r.sub(fmt.Sprintf("%dx%dx%d/%v", s.m, s.n, s.k, typ), func(r *rig) {
				x := r.normals(s.m * s.k)
				w, wv := r.freeze(typ, r.normals(s.n*s.k), s.n, s.k)
				y := r.matrix(nans(s.m*s.n), s.m, s.n, true)
				r.Linear(y, r.matrix(x, s.m, s.k, true), w, nil, device.Epilogue{})
				r.near("y", r.values(y), matmul(x, wv, s.m, s.n, s.k, false, true), close32)
			})
		}
	}
	for _, ranks := range [][]int{{1}, {4}, {8, 0, 3}, {33, 520}} {
		r.sub(fmt.Sprintf("Low%d", ranks), func(r *rig) {
			const m, n, k = 30, 70, 45
			x := r.normals(m * k)
			w, wv := r.freeze(device.F16, r.normals(n*k), n, k)
			want := matmul(x, wv, m, n, k, false, true)
			var low []device.Low
			for _, rank := range ranks {
				h, up := r.normals(m*rank), r.normals(n*rank)
				want = plus(want, 1, matmul(h, up, m, n, rank, false, true))
				low = append(low, device.Low{H: r.matrix(h, m, rank, true), Up: r.matrix(up, n, rank, true)})
			}
			y := r.matrix(nans(m*n), m, n, false)
			r.Linear(y, r.matrix(x, m, k, false), w, low, device.Epilogue{})
			r.near("y", r.values(y), want, close32)
		})
	}
}

// testLinearRows gives low-rank terms to some rows: side by side, apart from each
// other and one over another.
func testLinearRows(r *rig) {
	const m, n, k = 50, 70, 45
	for name, parts := range map[string][][3]int{ // first row, rows, rank
		"Sides":   {{0, 20, 4}, {20, 30, 7}},
		"Gaps":    {{3, 10, 70}, {30, 1, 2}},
		"Overlap": {{0, 50, 3}, {10, 15, 8}, {12, 30, 65}},
		"Nothing": {{5, 0, 3}},
	} {
		r.sub(name, func(r *rig) {
			x := r.normals(m * k)
			w, wv := r.freeze(device.F16, r.normals(n*k), n, k)
			want := matmul(x, wv, m, n, k, false, true)
			var low []device.Low
			for _, p := range parts {
				first, rows, rank := p[0], p[1], p[2]
				h, up := r.normals(rows*rank), r.normals(n*rank)
				for i, v := range matmul(h, up, rows, n, rank, false, true) {
					want[first*n+i] += v
				}
				low = append(low, device.Low{H: r.matrix(h, rows, rank, true), Up: r.matrix(up, n, rank, true), From: first})
			}
			y := r.matrix(nans(m*n), m, n, false)
			r.Linear(y, r.matrix(x, m, k, false), w, low, device.Epilogue{})
			r.near("y", r.values(y), want, close32)
		})
	}
}

func testLinearBack(r *rig) {
	for _, s := range productShapes {
		for _, typ := range storageTypes {
			if s.n == 0 || s.k == 0 {
				continue
			}
			r.sub(fmt.Sprintf("%dx%dx%d/%v", s.m, s.n, s.k, typ), func(r *rig) {
				dy := r.normals(s.m * s.n)
				w, wv := r.freeze(typ, r.normals(s.n*s.k), s.n, s.k)
				want := matmul(dy, wv, s.m, s.k, s.n, false, false)
				dx := r.matrix(nans(s.m*s.k), s.m, s.k, true)
				dym := r.matrix(dy, s.m, s.n, true)
				r.LinearBack(dx, dym, w, nil, 0)
				r.near("dx", r.values(dx), want, close32)

				const rank = 5
				dh, down := r.normals(s.m*rank), r.normals(rank*s.k)
				old := r.normals(s.m * s.k)
				dx = r.matrix(old, s.m, s.k, true)
				r.LinearBack(dx, dym, w, []device.Low{{H: r.matrix(dh, s.m, rank, false), Up: r.matrix(down, rank, s.k, true)}}, 1)
				want = plus(plus(want, 1, matmul(dh, down, s.m, s.k, rank, false, false)), 1, old)
				r.near("dx with low rank and beta", r.values(dx), want, close32)
			})
		}
	}
}

func testMatMul(r *rig) {
	for _, s := range productShapes {
		for trans := range 4 {
			transA, transB := trans&1 != 0, trans&2 != 0
			r.sub(fmt.Sprintf("%dx%dx%d/%v,%v", s.m, s.n, s.k, transA, transB), func(r *rig) {
				a, b := r.normals(s.m*s.k), r.normals(s.k*s.n)
				am, bm := r.matrix(a, s.m, s.k, true), r.matrix(b, s.k, s.n, true)
				if transA {
					am = r.matrix(a, s.k, s.m, true)
				}
				if transB {
					bm = r.matrix(b, s.n, s.k, true)
				}
				want := matmul(a, b, s.m, s.n, s.k, transA, transB)
				c := r.matrix(nans(s.m*s.n), s.m, s.n, true)
				r.MatMul(c, am, bm, transA, transB, 1, device.Epilogue{})
				r.near("c", r.values(c), want, close32)

				old := r.normals(s.m * s.n)
				c = r.matrix(old, s.m, s.n, false)
				r.MatMul(c, am, bm, transA, transB, -0.5, device.Epilogue{Beta: 1})
				r.near("c with alpha and beta", r.values(c), plus(old, -0.5, want), close32)
			})
		}
	}
}

// testEpilogue goes through the parts of an epilogue, alone and together.
func testEpilogue(r *rig) {
	const images, per, n, k = 2, 37, 67, 20
	const m = images * per
	for parts := range 1 << 6 {
		has := func(bit int) bool { return parts>>bit&1 != 0 }
		r.sub(fmt.Sprintf("%06b", parts), func(r *rig) {
			x := r.normals(m * k)
			w, wv := r.freeze(device.F32, r.normals(n*k), n, k)
			v := matmul(x, wv, m, n, k, false, true)
			var e device.Epilogue
			if has(0) {
				bias := r.normals(n)
				e.Bias = r.place(bias)
				for i := range v {
					v[i] += bias[i%n]
				}
			}
			if has(1) {
				vec := r.normals(images * n)
				e.RowVector, e.RowsPerImage = r.matrix(vec, images, n, true), per
				for i := range v {
					v[i] += vec[i/n/per*n+i%n]
				}
			}
			if has(2) {
				e.Act = device.Activation(1 + parts%4)
				v = activate(e.Act, v)
			}
			if has(3) {
				e.Drop = device.Dropout{P: 0.25, Draw: device.Draw{Key: 9, Stream: 2, Micro: 1, Step: r.ids(7)}}
				v = drop(v, 0, e.Drop.P, [3]uint32{2, 7, 1}, 9)
			}
			y := r.matrix(nans(m*n), m, n, true)
			if has(4) {
				res := r.normals(m * n)
				e.Residual = r.matrix(res, m, n, true)
				v = plus(v, 1, res)
			}
			if has(5) {
				old := r.normals(m * n)
				y = r.matrix(old, m, n, true)
				e.Beta = 1
				v = plus(v, 1, old)
			}
			r.Linear(y, r.matrix(x, m, k, false), w, nil, e)
			r.near("y", r.values(y), v, close32)
		})
	}
}

func activate(f device.Activation, x []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		switch f {
		case device.Identity:
			y[i] = v
		case device.SiLU:
			y[i] = v / (1 + math.Exp(-v))
		case device.GELU:
			y[i] = v * 0.5 * math.Erfc(-v/math.Sqrt2)
		case device.GELUTanh:
			y[i] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		case device.QuickGELU:
			y[i] = v / (1 + math.Exp(-1.702*v))
		}
	}
	return y
}

// philox is Philox4x32-10 (Salmon et al., SC11).
func philox(counter [4]uint32, key uint64) [4]uint32 {
	k := [2]uint32{uint32(key), uint32(key >> 32)}
	c := counter
	for range 10 {
		a, b := uint64(c[0])*0xD2511F53, uint64(c[2])*0xCD9E8D57
		c = [4]uint32{uint32(b>>32) ^ c[1] ^ k[0], uint32(b), uint32(a>>32) ^ c[3] ^ k[1], uint32(a)}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}

func word(i int, stream [3]uint32, key uint64) uint32 {
	return philox([4]uint32{stream[0], stream[1], stream[2], uint32(i / 4)}, key)[i%4]
}

// drop is dropout of a matrix whose first element has number first.
func drop(x []float64, first int, p float32, stream [3]uint32, key uint64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		if float64(word(first+i, stream, key)) >= float64(p)*(1<<32) {
			y[i] = v / (1 - float64(p))
		}
	}
	return y
}
