package devicetest

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// conv is the convolution of x [N,H,W,C] with w [O,C,kh,kw].
func conv(x, w []float64, g device.ConvGeom) []float64 {
	if g.UpH != 0 {
		x = upsample(x, g)
	}
	y := make([]float64, g.N*g.OutH()*g.OutW()*g.O)
	turned := turnWeight(w, g, false)
	eachPosition(g, func(in, tap, out int) {
		to := y[out*g.O : (out+1)*g.O]
		for c := range g.C {
			v := x[in*g.C+c]
			for o, wv := range turned[(tap*g.C+c)*g.O:][:g.O] {
				to[o] += v * wv
			}
		}
	})
	return y
}

// convGrads are the gradients of Σ dy·conv(x, w).
func convGrads(x, w, dy []float64, g device.ConvGeom) (dx, dw []float64) {
	big := x
	if g.UpH != 0 {
		big = upsample(x, g)
	}
	dx = make([]float64, len(big))
	turned, sums := turnWeight(w, g, false), make([]float64, len(w))
	eachPosition(g, func(in, tap, out int) {
		from := dy[out*g.O : (out+1)*g.O]
		for c := range g.C {
			at := in*g.C + c
			v, sum, wt := big[at], 0.0, (tap*g.C+c)*g.O
			ws, ss := turned[wt:][:g.O], sums[wt:][:g.O]
			for o, d := range from {
				sum += d * ws[o]
				ss[o] += d * v
			}
			dx[at] += sum
		}
	})
	if g.UpH != 0 {
		dx = upsampleBack(dx, g)
	}
	return dx, turnWeight(sums, g, true)
}

// eachPosition calls f for every pixel of y and every kernel position that
// meets a pixel of the (stretched) picture there.
func eachPosition(g device.ConvGeom, f func(in, tap, out int)) {
	h, w := g.Source()
	for out := range g.N * g.OutH() * g.OutW() {
		n, oy, ox := out/(g.OutH()*g.OutW()), out/g.OutW()%g.OutH(), out%g.OutW()
		for tap := range g.KH * g.KW {
			y, x := oy*g.Stride+tap/g.KW-g.Top, ox*g.Stride+tap%g.KW-g.Left
			if y >= 0 && y < h && x >= 0 && x < w {
				f((n*h+y)*w+x, tap, out)
			}
		}
	}
}

// turnWeight takes [O,C,kh,kw] to [kh,kw,C,O], or back.
func turnWeight(w []float64, g device.ConvGeom, back bool) []float64 {
	taps := g.KH * g.KW
	t := make([]float64, len(w))
	for i := range w {
		o, c, tap := i/taps/g.C, i/taps%g.C, i%taps
		at := (tap*g.C+c)*g.O + o
		if back {
			t[i] = w[at]
		} else {
			t[at] = w[i]
		}
	}
	return t
}

func upsample(x []float64, g device.ConvGeom) []float64 {
	y := make([]float64, g.N*g.UpH*g.UpW*g.C)
	for i := range y {
		c, px := i%g.C, i/g.C
		n, v, u := px/(g.UpH*g.UpW), px/g.UpW%g.UpH, px%g.UpW
		y[i] = x[((n*g.H+v*g.H/g.UpH)*g.W+u*g.W/g.UpW)*g.C+c]
	}
	return y
}

func upsampleBack(dy []float64, g device.ConvGeom) []float64 {
	dx := make([]float64, g.N*g.H*g.W*g.C)
	for i, d := range dy {
		c, px := i%g.C, i/g.C
		n, v, u := px/(g.UpH*g.UpW), px/g.UpW%g.UpH, px%g.UpW
		dx[((n*g.H+v*g.H/g.UpH)*g.W+u*g.W/g.UpW)*g.C+c] += d
	}
	return dx
}

func square(n, h, w, c, o, k, stride, pad int) device.ConvGeom {
	return device.ConvGeom{N: n, H: h, W: w, C: c, O: o, KH: k, KW: k, Stride: stride,
		Top: pad, Left: pad, Bottom: pad, Right: pad}
}

func stretched(g device.ConvGeom, h, w int) device.ConvGeom {
	g.UpH, g.UpW = h, w
	return g
}

// convShapes are the convolutions of the models, small, and odd ones.
var convShapes = []struct {
	name string
	g    device.ConvGeom
}{
	{"OnePixel", square(1, 1, 1, 1, 1, 3, 1, 1)},
	{"Same", square(2, 6, 7, 35, 40, 3, 1, 1)},
	{"ManyChannels", square(1, 3, 4, 530, 33, 3, 1, 1)},
	{"Large", square(1, 18, 30, 17, 65, 3, 1, 1)},
	{"ConvIn", square(2, 5, 9, 4, 37, 3, 1, 1)},
	{"ConvIn9", square(1, 8, 8, 9, 32, 3, 1, 1)},
	{"ConvOut", square(1, 7, 6, 40, 4, 3, 1, 1)},
	{"Point", square(2, 5, 3, 19, 45, 1, 1, 0)},
	{"PointStride", square(1, 5, 7, 19, 20, 1, 2, 0)},
	{"Down", square(2, 8, 6, 33, 34, 3, 2, 1)},
	{"DownOdd", square(1, 7, 9, 20, 21, 3, 2, 1)},
	{"DownEncoder", device.ConvGeom{N: 1, H: 8, W: 10, C: 17, O: 18, KH: 3, KW: 3, Stride: 2, Bottom: 1, Right: 1}},
	{"NoPadding", square(1, 6, 5, 18, 9, 3, 1, 0)},
	{"WidePadding", square(1, 2, 3, 16, 5, 3, 1, 4)},
	{"Asymmetric", device.ConvGeom{N: 2, H: 5, W: 6, C: 21, O: 7, KH: 2, KW: 4, Stride: 1, Top: 1, Left: 2, Right: 3}},
	{"Stride3", device.ConvGeom{N: 1, H: 11, W: 10, C: 16, O: 6, KH: 5, KW: 2, Stride: 3, Top: 2, Left: 1, Bottom: 1, Right: 2}},
	{"Patches", square(1, 9, 6, 18, 8, 3, 3, 0)},
	{"LeftOver", square(1, 8, 8, 18, 8, 2, 3, 0)},
	{"Up", stretched(square(2, 3, 4, 20, 33, 3, 1, 1), 6, 8)},
	{"UpOdd", stretched(square(1, 3, 4, 18, 20, 3, 1, 1), 5, 7)},
	{"UpFewChannels", stretched(square(1, 3, 2, 3, 5, 3, 1, 1), 7, 5)},
	{"UpSmaller", stretched(square(1, 7, 6, 18, 5, 3, 1, 1), 4, 3)},
	{"Batch3", square(3, 4, 4, 64, 64, 3, 1, 1)},
	// Large enough for fast algorithms, with odd edges and remainders.
	{"Fast", square(1, 12, 14, 96, 96, 3, 1, 1)},
	{"FastOdd", square(2, 11, 13, 150, 100, 3, 1, 1)},
	{"FastWide", square(1, 3, 201, 97, 98, 3, 1, 1)},
	{"FastImages", square(5, 5, 6, 130, 97, 3, 1, 1)},
	{"FastAsymmetric", device.ConvGeom{N: 1, H: 15, W: 12, C: 96, O: 99, KH: 3, KW: 3, Stride: 1, Top: 2, Right: 2}},
	{"FastUp", stretched(square(1, 6, 7, 96, 97, 3, 1, 1), 12, 15)},
}

func testConv(r *rig) {
	for i, s := range convShapes {
		g := s.g
		for _, typ := range []device.DType{device.F32, storageTypes[1+i%2]} {
			r.sub(fmt.Sprintf("%s/%v", s.name, typ), func(r *rig) {
				x := r.normals(g.N * g.H * g.W * g.C)
				w, wv := r.freeze(typ, r.normals(g.O*g.C*g.KH*g.KW), g.O, g.C, g.KH, g.KW)
				want := conv(x, wv, g)
				xa, y := r.place(x), r.empty(len(want))
				r.Conv(y, xa, w, g, nil, device.Epilogue{})
				r.near("y", r.download(y), want, close32)

				const rank = 3
				pixels := g.OutH() * g.OutW()
				h, up, bias, res := r.normals(g.N*pixels*rank), r.normals(g.O*rank), r.normals(g.O), r.normals(len(want))
				vec := r.normals(g.N * g.O)
				want = plus(want, 1, matmul(h, up, g.N*pixels, g.O, rank, false, true))
				for i := range want {
					want[i] += bias[i%g.O] + vec[i/g.O/pixels*g.O+i%g.O]
				}
				want = plus(activate(device.SiLU, want), 1, res)
				y = r.empty(len(want))
				r.Conv(y, xa, w, g, []device.Low{{H: r.matrix(h, g.N*pixels, rank, false), Up: r.matrix(up, g.O, rank, false)}},
					device.Epilogue{
						Bias: r.place(bias), Act: device.SiLU, Residual: r.matrix(res, g.N*pixels, g.O, true),
						RowVector: r.matrix(vec, g.N, g.O, false), RowsPerImage: pixels,
					})
				r.near("y with all", r.download(y), want, close32)
			})
		}
	}
}

func testConvBack(r *rig) {
	for i, s := range convShapes {
		g := s.g
		for _, typ := range []device.DType{device.F32, storageTypes[1+i%2]} {
			r.sub(fmt.Sprintf("%s/%v", s.name, typ), func(r *rig) {
				x, dy := r.normals(g.N*g.H*g.W*g.C), r.normals(g.N*g.OutH()*g.OutW()*g.O)
				w, wv := r.freeze(typ, r.normals(g.O*g.C*g.KH*g.KW), g.O, g.C, g.KH, g.KW)
				want, _ := convGrads(x, wv, dy, g)
				dya, dx := r.place(dy), r.empty(len(x))
				r.ConvBack(dx, dya, w, g, 0)
				r.near("dx", r.download(dx), want, close32)
				old := r.normals(len(x))
				dx = r.place(old)
				r.ConvBack(dx, dya, w, g, 1)
				r.near("dx with beta", r.download(dx), plus(want, 1, old), close32)
			})
		}
	}
	// That the reference's gradients are gradients.
	r.sub("Reference", func(r *rig) {
		g := stretched(square(1, 3, 2, 2, 3, 3, 2, 1), 5, 4)
		x, w, dy := r.normals(12), r.normals(54), r.normals(g.OutH()*g.OutW()*3)
		dx, dw := convGrads(x, w, dy, g)
		r.near("dx", dx, gradient(func(x []float64) []float64 { return conv(x, w, g) }, x, dy), 1e-9)
		r.near("dw", dw, gradient(func(w []float64) []float64 { return conv(x, w, g) }, w, dy), 1e-9)
	})
}

func testConvWeightGrad(r *rig) {
	for _, s := range convShapes {
		g := s.g
		r.sub(s.name, func(r *rig) {
			x, dy := r.normals(g.N*g.H*g.W*g.C), r.normals(g.N*g.OutH()*g.OutW()*g.O)
			size := g.O * g.C * g.KH * g.KW
			_, want := convGrads(x, make([]float64, size), dy, g)
			xa, dya, dw := r.place(x), r.place(dy), r.empty(size)
			r.ConvWeightGrad(dw, xa, dya, g, 0)
			r.near("dw", r.download(dw), want, close32)
			old := r.normals(size)
			dw = r.place(old)
			r.ConvWeightGrad(dw, xa, dya, g, 1)
			r.near("dw with beta", r.download(dw), plus(want, 1, old), close32)
		})
	}
}

func testUpsample(r *rig) {
	for _, g := range []device.ConvGeom{
		stretched(square(2, 3, 4, 5, 0, 1, 1, 0), 6, 8),
		stretched(square(1, 3, 4, 40, 0, 1, 1, 0), 5, 9),
		stretched(square(1, 1, 1, 1, 0, 1, 1, 0), 1, 1),
		stretched(square(1, 5, 7, 3, 0, 1, 1, 0), 3, 2),
	} {
		r.sub(fmt.Sprintf("%dx%d-%dx%d", g.H, g.W, g.UpH, g.UpW), func(r *rig) {
			x, dy := r.normals(g.N*g.H*g.W*g.C), r.normals(g.N*g.UpH*g.UpW*g.C)
			y, dx := r.empty(len(dy)), r.empty(len(x))
			r.Upsample(y, r.place(x), g)
			r.near("y", r.download(y), upsample(x, g), exact)
			r.UpsampleBack(dx, r.place(dy), g, 0)
			r.near("dx", r.download(dx), upsampleBack(dy, g), close32)
			old := r.normals(len(x))
			dx = r.place(old)
			r.UpsampleBack(dx, r.place(dy), g, 1)
			r.near("dx with beta", r.download(dx), plus(upsampleBack(dy, g), 1, old), close32)
		})
	}
}
