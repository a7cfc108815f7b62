//go:build cuda

package cuda

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
)

// Tensor cores do not sum like chains of float32, so results in half precision
// are compared on operands that are halves already, within a bound from
// Σ|a·b|: the processor computes that from the absolute values.

// sumBound is the share of Σ|a·b| by which a sum may be off.
const sumBound = 2e-5

// halves are normal numbers that T holds exactly.
func (p *pair) halves(typ device.DType, n int) (a array, host []float32) {
	host = make([]float32, n)
	for i := range host {
		v := float32(p.random.NormFloat64())
		if typ == device.F16 {
			host[i] = half.FromF16(half.ToF16(v))
		} else {
			host[i] = half.FromBF16(half.ToBF16(v))
		}
	}
	return p.floats(host), host
}

func (p *pair) floats(host []float32) array {
	b := make([]byte, 0, 4*len(host))
	for _, v := range host {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return p.place(device.F32, b)
}

func absolute(v []float32) []float32 {
	a := make([]float32, len(v))
	for i := range v {
		a[i] = float32(math.Abs(float64(v[i])))
	}
	return a
}

// frozen makes a weight of host, stored as typ.
func (p *pair) frozen(typ device.DType, host []float32, shape ...int) (w [2]device.Weight) {
	var b []byte
	for _, v := range host {
		switch typ {
		case device.F32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		case device.F16:
			b = binary.LittleEndian.AppendUint16(b, half.ToF16(v))
		case device.BF16:
			b = binary.LittleEndian.AppendUint16(b, half.ToBF16(v))
		}
	}
	for i, d := range p.sides {
		var err error
		if w[i], err = d.Freeze(device.HostWeight{Type: typ, Shape: shape, Data: b}); err != nil {
			p.Fatal(err)
		}
	}
	return w
}

// within compares an array with the processor's, each element by its own bound.
func (p *pair) within(name string, a array, bound []float32, share float64) {
	p.Helper()
	got, want := read(p.T, p.sides[0], a[0]), read(p.T, p.sides[1], a[1])
	for i := range got {
		if e := math.Abs(float64(got[i]) - float64(want[i])); !(e <= share*float64(bound[i])+1e-30) {
			p.Errorf("%s: element %d is %v, the processor has %v: off by %.3g of Σ|a·b| = %v", name, i, got[i], want[i], e/float64(bound[i]), bound[i])
			return
		}
	}
}

var halfTypes = []device.DType{device.BF16, device.F16}

func TestHalfProducts(t *testing.T) {
	for _, typ := range halfTypes {
		for _, s := range []struct{ m, n, k, rank int }{
			{1, 1, 1, 0}, {5, 3, 7, 2}, {64, 64, 32, 0}, {70, 130, 72, 4}, {33, 40, 600, 8}, {130, 61, 1000, 5},
			{1300, 1200, 16, 4}, {257, 100, 0, 0}, {1281, 1273, 9, 3}, // from 96 blocks on the large edge
		} {
			t.Run(fmt.Sprintf("%v/%dx%dx%d+%d", typ, s.m, s.n, s.k, s.rank), func(t *testing.T) {
				p := newPair(t, Options{Precision: typ}, "", 5)
				p.halfProducts(typ, s.m, s.n, s.k, s.rank)
			})
		}
	}
}

// Hopper has tiles of its own for products that are wide enough.
func TestHalfWideTiles(t *testing.T) {
	t.Setenv("FAKE_CUDA_SM", "90")
	for _, typ := range halfTypes {
		t.Run(typ.String(), func(t *testing.T) {
			p := newPair(t, Options{Precision: typ}, "", 9)
			d := p.sides[0].(*Device)
			if d.info.Capability < wideArch {
				t.Skip("this GPU has no wide tiles")
			}
			// Of x·Wᵀ and of the gradient of x, columns short of a whole tile.
			p.halfProducts(typ, 1660, 2552, 16, 4)
			p.halfProducts(typ, 1660, 16, 2552, 4)
			p.halfConvolution(typ, device.ConvGeom{N: 1, H: 129, W: 130, C: 8, O: 256, KH: 3, KW: 1, Stride: 1, Top: 1, Bottom: 1})
			p.halfConvolution(typ, device.ConvGeom{N: 1, H: 129, W: 130, C: 256, O: 8, KH: 1, KW: 3, Stride: 1, Left: 1, Right: 1})
			for _, kernel := range []string{"linear", "linear_back", "conv", "conv_back"} {
				if name := fmt.Sprintf("mma_%s_%v_256", kernel, typ); d.library.functions[name] == nil {
					t.Errorf("%s was not used", name)
				}
			}
		})
	}
}

func (p *pair) halfProducts(typ device.DType, m, n, k, rank int) {
	x, xh := p.halves(typ, m*k)
	dy, dyh := p.halves(typ, m*n)
	h, hh := p.halves(typ, m*rank)
	up, uph := p.halves(typ, n*rank)
	down, downh := p.halves(typ, rank*k)
	_, wh := p.halves(typ, n*k)
	y, dx, c := p.nothing(m*n), p.nothing(m*k), p.nothing(n*k)
	run := func(x, dy, h, up, down array, w [2]device.Weight, y, dx, c array) {
		p.both(func(d device.Device, i int) {
			if n*k > 0 {
				d.Linear(y[i].Matrix(m, n), x[i].Matrix(m, k), w[i], []device.Low{{H: h[i].Matrix(m, rank), Up: up[i].Matrix(n, rank)}}, device.Epilogue{})
				d.LinearBack(dx[i].Matrix(m, k), dy[i].Matrix(m, n), w[i], []device.Low{{H: h[i].Matrix(m, rank), Up: down[i].Matrix(rank, k)}}, 0)
			}
			d.MatMul(c[i].Matrix(n, k), dy[i].Matrix(m, n), x[i].Matrix(m, k), true, false, 1, device.Epilogue{})
		})
	}
	for _, stored := range []device.DType{typ, device.F32} {
		// The bounds, from absolute values on the processor.
		by, bdx, bc := p.nothing(m*n), p.nothing(m*k), p.nothing(n*k)
		run(p.floats(absolute(xh)), p.floats(absolute(dyh)), p.floats(absolute(hh)), p.floats(absolute(uph)), p.floats(absolute(downh)),
			p.frozen(stored, absolute(wh), n, k), by, bdx, bc)
		run(x, dy, h, up, down, p.frozen(stored, wh, n, k), y, dx, c)
		if n*k > 0 {
			p.within("y", y, read(p.T, p.sides[1], by[1]), sumBound)
			p.within("dx", dx, read(p.T, p.sides[1], bdx[1]), sumBound)
		}
		p.within("c", c, read(p.T, p.sides[1], bc[1]), sumBound)
	}
}

func TestHalfMatMul(t *testing.T) {
	for _, typ := range halfTypes {
		for trans := range 4 {
			for _, s := range []struct{ m, n, k int }{{1, 1, 1}, {65, 70, 33}, {64, 128, 96}, {20, 12, 900}} {
				transA, transB := trans&1 != 0, trans&2 != 0
				t.Run(fmt.Sprintf("%v/%dx%dx%d/%v,%v", typ, s.m, s.n, s.k, transA, transB), func(t *testing.T) {
					p := newPair(t, Options{Precision: typ}, "", 6)
					a, ah := p.halves(typ, s.m*s.k)
					b, bh := p.halves(typ, s.k*s.n)
					run := func(a, b, c array, alpha float32) {
						p.both(func(d device.Device, i int) {
							am, bm := a[i].Matrix(s.m, s.k), b[i].Matrix(s.k, s.n)
							if transA {
								am = a[i].Matrix(s.k, s.m)
							}
							if transB {
								bm = b[i].Matrix(s.n, s.k)
							}
							d.MatMul(c[i].Matrix(s.m, s.n), am, bm, transA, transB, alpha, device.Epilogue{})
						})
					}
					bound, c := p.nothing(s.m*s.n), p.nothing(s.m*s.n)
					run(p.floats(absolute(ah)), p.floats(absolute(bh)), bound, 1)
					run(a, b, c, -1)
					p.within("c", c, read(t, p.sides[1], bound[1]), sumBound)
				})
			}
		}
	}
}

func TestHalfConvolutions(t *testing.T) {
	for _, typ := range halfTypes {
		for i, g := range []device.ConvGeom{
			{N: 1, H: 5, W: 6, C: 4, O: 33, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1},
			{N: 2, H: 9, W: 7, C: 40, O: 24, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1},
			{N: 1, H: 9, W: 8, C: 32, O: 40, KH: 3, KW: 3, Stride: 2, Bottom: 1, Right: 1},
			{N: 1, H: 4, W: 5, C: 24, O: 8, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, UpH: 8, UpW: 9},
			{N: 3, H: 64, W: 64, C: 8, O: 16, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}, // the large edge
			{N: 3, H: 32, W: 32, C: 8, O: 16, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, UpH: 64, UpW: 64},
			{N: 3, H: 64, W: 64, C: 40, O: 8, KH: 3, KW: 3, Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1},
			{N: 1, H: 6, W: 6, C: 16, O: 9, KH: 2, KW: 1, Stride: 3, Top: 1},
		} {
			t.Run(fmt.Sprintf("%v/%d", typ, i), func(t *testing.T) {
				newPair(t, Options{Precision: typ}, "", 7).halfConvolution(typ, g)
			})
		}
	}
}

func (p *pair) halfConvolution(typ device.DType, g device.ConvGeom) {
	outs := g.N * g.OutH() * g.OutW()
	x, xh := p.halves(typ, g.N*g.H*g.W*g.C)
	dy, dyh := p.halves(typ, outs*g.O)
	_, wh := p.halves(typ, g.O*g.C*g.KH*g.KW)
	run := func(x, dy array, w [2]device.Weight) (y, dx, dw array) {
		y, dx, dw = p.nothing(outs*g.O), p.nothing(len(xh)), p.nothing(len(wh))
		p.both(func(d device.Device, i int) {
			d.Conv(y[i], x[i], w[i], g, nil, device.Epilogue{})
			d.ConvBack(dx[i], dy[i], w[i], g, 0)
			d.ConvWeightGrad(dw[i], x[i], dy[i], g, 0)
		})
		return y, dx, dw
	}
	by, bdx, bdw := run(p.floats(absolute(xh)), p.floats(absolute(dyh)), p.frozen(typ, absolute(wh), g.O, g.C, g.KH, g.KW))
	y, dx, dw := run(x, dy, p.frozen(typ, wh, g.O, g.C, g.KH, g.KW))
	p.within("y", y, read(p.T, p.sides[1], by[1]), sumBound)
	p.within("dx", dx, read(p.T, p.sides[1], bdx[1]), sumBound)
	p.within("dw", dw, read(p.T, p.sides[1], bdw[1]), sumBound)
}

// Attention's probabilities are rounded to T before they weigh the values, so
// its error is a share of T's precision.
func TestHalfAttention(t *testing.T) {
	for _, typ := range halfTypes {
		for _, g := range []device.AttentionGeom{
			{Batch: 1, Heads: 1, Dim: 1, TQ: 1, TK: 1, Scale: 1},
			{Batch: 2, Heads: 3, Dim: 40, TQ: 70, TK: 77, Scale: 0.16},
			{Batch: 1, Heads: 2, Dim: 64, TQ: 130, TK: 130, Scale: 0.125, Causal: true},
			{Batch: 1, Heads: 2, Dim: 80, TQ: 64, TK: 200, Scale: 0.11},
			{Batch: 1, Heads: 1, Dim: 160, TQ: 65, TK: 90, Scale: 0.08},
			{Batch: 1, Heads: 3, Dim: 7, TQ: 33, TK: 40, Scale: 0.4, Causal: true},
			{Batch: 2, Heads: 1, Dim: 200, TQ: 40, TK: 50, Scale: 0.07},
			{Batch: 1, Heads: 2, Dim: 170, TQ: 70, TK: 70, Scale: 0.07, Causal: true},
			{Batch: 1, Heads: 2, Dim: 16, TQ: 5, TK: 0, Scale: 1},
		} {
			t.Run(fmt.Sprintf("%v/%dx%dx%d/%d,%d,%v", typ, g.Batch, g.Heads, g.Dim, g.TQ, g.TK, g.Causal), func(t *testing.T) {
				p := newPair(t, Options{Precision: typ}, "", 8)
				width := g.Heads * g.Dim
				nq, nk := g.Batch*g.TQ, g.Batch*g.TK
				q, _ := p.halves(typ, nq*width)
				k, _ := p.halves(typ, nk*width)
				v, _ := p.halves(typ, nk*width)
				do, _ := p.halves(typ, nq*width)
				o, lse := p.nothing(nq*width), p.nothing(g.Batch*g.Heads*g.TQ)
				dq, dk, dv := p.nothing(nq*width), p.nothing(nk*width), p.nothing(nk*width)
				p.both(func(d device.Device, i int) {
					m := func(a array, n int) device.Matrix { return a[i].Matrix(n, width) }
					d.Attention(m(o, nq), lse[i], m(q, nq), m(k, nk), m(v, nk), g)
					d.AttentionBack(m(dq, nq), m(dk, nk), m(dv, nk), m(do, nq), m(o, nq), m(q, nq), m(k, nk), m(v, nk), lse[i], g)
				})
				ulp := 1.0 / 256 // bf16's; f16 keeps three bits more
				if typ == device.F16 {
					ulp /= 8
				}
				p.near("lse", lse, 2e-5)
				p.near("o", o, ulp)
				for name, a := range map[string]array{"dq": dq, "dk": dk, "dv": dv} {
					p.near(name, a, 2*ulp)
				}
			})
		}
	}
}
