//go:build cuda

package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
)

func read(t *testing.T, d device.Device, a device.Array) []float32 {
	t.Helper()
	b := make([]byte, 4*a.Len)
	d.Download(b, a)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
	v := make([]float32, a.Len)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v
}

// pair is the CUDA device beside the processor's: each operation runs on both,
// on the same numbers.
type pair struct {
	*testing.T
	random *rand.Rand
	sides  [2]device.Device
	slack  bool // arrays begin off the driver's alignment
}

func newPair(t *testing.T, o Options, kernels string, seed uint64) *pair {
	c, err := cpu.New(cpu.Options{Kernels: kernels, Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, o)
	t.Cleanup(func() { g.Close(); c.Close() })
	return &pair{T: t, random: newRandom(seed), sides: [2]device.Device{g, c}}
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

// array is one array on both devices.
type array [2]device.Array

func (p *pair) place(typ device.DType, host []byte) (a array) {
	off := 0
	if p.slack {
		off = 1 + p.random.IntN(3)
	}
	for i, d := range p.sides {
		b, err := d.Alloc(len(host) + off*typ.Size())
		if err != nil {
			p.Fatal(err)
		}
		a[i] = device.Array{Buf: b, Off: off, Len: len(host) / typ.Size(), Type: typ}
		d.Upload(a[i], host)
	}
	return a
}

func (p *pair) normals(n int) array {
	host := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(host[4*i:], math.Float32bits(float32(p.random.NormFloat64())))
	}
	return p.place(device.F32, host)
}

func (p *pair) nothing(n int) array {
	host := bytes.Repeat([]byte{0xff}, 4*n)
	return p.place(device.F32, host)
}

func (p *pair) weight(typ device.DType, shape ...int) (w [2]device.Weight) {
	n := typ.Size()
	for _, d := range shape {
		n *= d
	}
	host := make([]byte, n)
	for i := 0; i < n; i += typ.Size() {
		v := float32(p.random.NormFloat64())
		switch typ {
		case device.F32:
			binary.LittleEndian.PutUint32(host[i:], math.Float32bits(v))
		case device.BF16:
			binary.LittleEndian.PutUint16(host[i:], uint16(math.Float32bits(v)>>16))
		case device.F16: // a normal number: sign, exponent 14 or 15, fraction
			binary.LittleEndian.PutUint16(host[i:], uint16(math.Float32bits(v)>>16&0x8000)|uint16(14+i/2%2)<<10|uint16(p.random.IntN(1024)))
		}
	}
	for i, d := range p.sides {
		var err error
		if w[i], err = d.Freeze(device.HostWeight{Type: typ, Shape: shape, Data: host}); err != nil {
			p.Fatal(err)
		}
	}
	return w
}

// near compares an array, relative to its largest element.
func (p *pair) near(name string, a array, tolerance float64) {
	p.Helper()
	got, want := read(p.T, p.sides[0], a[0]), read(p.T, p.sides[1], a[1])
	size := 1e-3
	for _, v := range want {
		size = max(size, math.Abs(float64(v)))
	}
	for i := range got {
		if e := math.Abs(float64(got[i]) - float64(want[i])); got[i] != want[i] && !(e <= tolerance*size) {
			p.Errorf("%s: element %d is %v, the processor has %v", name, i, got[i], want[i])
			return
		}
	}
}

// same compares bits.
func (p *pair) same(name string, a array) {
	p.Helper()
	got, want := read(p.T, p.sides[0], a[0]), read(p.T, p.sides[1], a[1])
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			p.Errorf("%s: element %d is %v (%08x), the processor has %v (%08x)", name, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
			return
		}
	}
}

func (p *pair) both(f func(d device.Device, i int)) {
	for i, d := range p.sides {
		f(d, i)
	}
}

// What is elementwise, or random, has the portable code's very bits.
func TestSameBitsAsPortable(t *testing.T) {
	p := newPair(t, Options{}, "generic", 1)
	const n = 4001
	x, dy := p.normals(n), p.normals(n)
	step := p.place(device.I32, []byte{9, 0, 0, 0})
	for f := device.Identity; f <= device.QuickGELU; f++ {
		y, dx := p.nothing(n), p.nothing(n)
		p.both(func(d device.Device, i int) {
			d.Activate(f, y[i], x[i])
			d.ActivateBack(f, dx[i], dy[i], x[i], 0)
		})
		p.same(fmt.Sprintf("activation %d", f), y)
		p.same(fmt.Sprintf("slope %d", f), dx)
	}
	y := p.nothing(n)
	draw := func(i int) device.Draw {
		return device.Draw{Key: 0x123456789abcdef, Stream: 4, Micro: 2, Step: step[i]}
	}
	p.both(func(d device.Device, i int) { d.Normal(y[i], draw(i)) })
	p.same("normals", y)
	p.both(func(d device.Device, i int) {
		d.DropoutMask(y[i].Matrix(1, n), x[i].Matrix(1, n), device.Dropout{P: 0.1, Draw: draw(i)})
	})
	p.same("dropout", y)
	half := p.nothing(n / 2)
	p.both(func(d device.Device, i int) { d.GEGLU(half[i].Matrix(1, n/2), x[i].Matrix(1, n/2*2)) })
	p.same("geglu", half)
	m, v := p.normals(n), p.normals(n)
	p.both(func(d device.Device, i int) { d.Mul(v[i], v[i], v[i]) })
	hyper := p.place(device.F32, hyperBytes(1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001))
	p.both(func(d device.Device, i int) {
		d.AdamW(device.Slab{Value: x[i], Grad: dy[i], M: m[i], V: v[i]}, []device.AdamWSegment{{Off: 1, Len: n - 2, Hyper: hyper[i]}}, device.Array{})
	})
	p.same("adamw", x)
	p.same("adamw m", m)
	p.same("adamw v", v)
}

func hyperBytes(v ...float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

var allTypes = []device.DType{device.F32, device.F16, device.BF16}

// Odd sizes, unaligned, empty, one element: every kernel beside the processor.
func TestRandomShapes(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			p := newPair(t, Options{}, "", seed)
			p.slack = seed%2 == 1
			// Mostly small, now and then one or none.
			size := func(n int) int { return max(p.random.IntN(n+n/8)-n/8, p.random.IntN(2)) }
			p.products(size(150), 1+size(150), 1+size(600), size(9))
			p.convolutions(1+size(12), 1+size(12), 1+size(40), 1+size(70))
			p.attentions(1+size(3), 1+size(4), 1+size(90), size(100), 1+size(120))
			p.norms(1+size(3), 1+size(200), 1+size(20), 1+size(8))
			p.maps(size(5000), 1+size(40), 1+size(60))
		})
	}
}

func (p *pair) products(m, n, k, rank int) {
	x, y, dy, dx := p.normals(m*k), p.nothing(m*n), p.normals(m*n), p.normals(m*k)
	h, up, down := p.normals(m*rank), p.normals(n*rank), p.normals(rank*k)
	bias, c := p.normals(n), p.nothing(n*k)
	for _, typ := range allTypes {
		w := p.weight(typ, n, k)
		p.both(func(d device.Device, i int) {
			low := []device.Low{{H: h[i].Matrix(m, rank), Up: up[i].Matrix(n, rank)}}
			d.Linear(y[i].Matrix(m, n), x[i].Matrix(m, k), w[i], low, device.Epilogue{Bias: bias[i], Act: device.SiLU})
			low = []device.Low{{H: h[i].Matrix(m, rank), Up: down[i].Matrix(rank, k)}}
			d.LinearBack(dx[i].Matrix(m, k), dy[i].Matrix(m, n), w[i], low, 1)
		})
		p.near(fmt.Sprintf("linear %dx%dx%d+%d %v", m, n, k, rank, typ), y, 1e-5)
		p.near(fmt.Sprintf("linear back %dx%dx%d+%d %v", m, n, k, rank, typ), dx, 1e-5)
	}
	p.both(func(d device.Device, i int) {
		d.MatMul(c[i].Matrix(n, k), dy[i].Matrix(m, n), x[i].Matrix(m, k), true, false, 0.5, device.Epilogue{})
	})
	p.near(fmt.Sprintf("matmul tn %dx%dx%d", n, k, m), c, 1e-5)
}

func (p *pair) convolutions(h, w, c, o int) {
	g := device.ConvGeom{N: 1 + p.random.IntN(2), H: h, W: w, C: c, O: o, KH: 1 + p.random.IntN(4), KW: 1 + p.random.IntN(4),
		Stride: 1 + p.random.IntN(3), Top: p.random.IntN(3), Left: p.random.IntN(3), Bottom: 3, Right: 3}
	if p.random.IntN(3) == 0 {
		g.UpH, g.UpW = h+p.random.IntN(h+1), w+p.random.IntN(w+1)
	}
	outs := g.N * g.OutH() * g.OutW()
	x, dy, y := p.normals(g.N*h*w*c), p.normals(outs*o), p.nothing(outs*o)
	dx, dw := p.normals(g.N*h*w*c), p.nothing(o*c*g.KH*g.KW)
	for _, typ := range allTypes {
		kernel := p.weight(typ, o, c, g.KH, g.KW)
		p.both(func(d device.Device, i int) {
			d.Conv(y[i], x[i], kernel[i], g, nil, device.Epilogue{})
			d.ConvBack(dx[i], dy[i], kernel[i], g, 1)
		})
		p.near(fmt.Sprintf("conv %+v %v", g, typ), y, 1e-5)
		p.near(fmt.Sprintf("conv back %+v %v", g, typ), dx, 1e-5)
	}
	p.both(func(d device.Device, i int) { d.ConvWeightGrad(dw[i], x[i], dy[i], g, 0) })
	p.near(fmt.Sprintf("conv weight grad %+v", g), dw, 1e-5)
}

func (p *pair) attentions(batch, heads, dim, tq, tk int) {
	g := device.AttentionGeom{Batch: batch, Heads: heads, Dim: dim, TQ: tq, TK: tk, Scale: 0.3, Causal: p.random.IntN(2) == 0}
	width := heads * dim
	q, k, v, do := p.normals(batch*tq*width), p.normals(batch*tk*width), p.normals(batch*tk*width), p.normals(batch*tq*width)
	o, lse := p.nothing(batch*tq*width), p.nothing(batch*heads*tq)
	dq, dk, dv := p.nothing(batch*tq*width), p.nothing(batch*tk*width), p.nothing(batch*tk*width)
	p.both(func(d device.Device, i int) {
		m := func(a array, t int) device.Matrix { return a[i].Matrix(batch*t, width) }
		d.Attention(m(o, tq), lse[i], m(q, tq), m(k, tk), m(v, tk), g)
		d.AttentionBack(m(dq, tq), m(dk, tk), m(dv, tk), m(do, tq), m(o, tq), m(q, tq), m(k, tk), m(v, tk), lse[i], g)
	})
	for name, a := range map[string]array{"o": o, "lse": lse, "dq": dq, "dk": dk, "dv": dv} {
		p.near(fmt.Sprintf("attention %+v: %s", g, name), a, 5e-5)
	}
}

func (p *pair) norms(n, pixels, groups, per int) {
	g := device.NormGeom{N: n, Pixels: pixels, C: groups * per, Groups: groups, Eps: 1e-2}
	size := n * pixels * g.C
	x, dy, y, dx := p.normals(size), p.normals(size), p.nothing(size), p.normals(size)
	gamma, beta, dg, db, stats := p.normals(g.C), p.normals(g.C), p.normals(g.C), p.normals(g.C), p.nothing(2*n*groups)
	rows := n * pixels
	stats2, y2, dx2 := p.nothing(2*rows), p.nothing(size), p.normals(size)
	p.both(func(d device.Device, i int) {
		d.GroupNorm(y[i], stats[i], x[i], gamma[i], beta[i], g, true)
		d.GroupNormBack(dx[i], dg[i], db[i], dy[i], x[i], stats[i], gamma[i], beta[i], g, true, 1)
		d.LayerNorm(y2[i].Matrix(rows, g.C), stats2[i], x[i].Matrix(rows, g.C), gamma[i], beta[i], 1e-2)
		d.LayerNormBack(dx2[i].Matrix(rows, g.C), dg[i], db[i], dy[i].Matrix(rows, g.C), x[i].Matrix(rows, g.C), stats2[i], gamma[i], 0)
	})
	for name, a := range map[string]array{"y": y, "stats": stats, "dx": dx, "dgamma": dg, "dbeta": db, "layer y": y2, "layer dx": dx2} {
		p.near(fmt.Sprintf("norm %+v: %s", g, name), a, 5e-5)
	}
}

func (p *pair) maps(n, rows, cols int) {
	a, b, y := p.normals(n), p.normals(n), p.nothing(n)
	coef := p.normals(11)
	sum, out := p.nothing(cols), p.nothing(1)
	m := p.normals(rows * cols)
	p.both(func(d device.Device, i int) {
		d.Combine(y[i], coef[i], a[i], b[i], a[i], b[i], a[i], b[i], a[i], b[i], a[i], b[i], a[i])
		d.ColumnSum(sum[i].Matrix(1, cols), m[i].Matrix(rows, cols), rows, 0)
		d.SumSquares(out[i], a[i], 0)
	})
	p.near("combine", y, 1e-5)
	p.near("column sum", sum, 1e-5)
	p.near("sum of squares", out, 1e-5)
}
