package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// The benchmarks run the layers of Stable Diffusion 1.5 at 64×64 latents,
// batch 1, and of the embedded base, and report the rate and its share of what
// the cores can do on registers. Times are the quickest of several runs: on a
// shared machine averages measure the neighbours.
//
//	go test -run - -bench . ./gpurunner/device/cpu

func quickest(b *testing.B, f func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	f()
	for b.Loop() {
		for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
			t := time.Now()
			f()
			best = min(best, time.Since(t))
		}
	}
	return best
}

// bench is a device with inputs for benchmarks.
type bench struct {
	*Device
	b    *testing.B
	peak float64 // of all threads
}

func newBench(b *testing.B) *bench {
	d, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(d.Close)
	best := time.Duration(math.MaxInt64)
	flops := 0
	for range 30 {
		t := time.Now()
		flops = d.kernels.Peak(10000)
		best = min(best, time.Since(t))
	}
	return &bench{Device: d, b: b, peak: float64(flops) / best.Seconds() * float64(runtime.GOMAXPROCS(0))}
}

func (b *bench) array(n int) device.Array {
	buf, err := b.Alloc(4 * n)
	if err != nil {
		b.b.Fatal(err)
	}
	a := device.Array{Buf: buf, Len: n}
	f := b.f32("bench", "a", a)
	for i := range f {
		f[i] = rand.Float32() - 0.5
	}
	return a
}

func (b *bench) matrix(rows, cols int) device.Matrix { return b.array(rows*cols).Matrix(rows, cols) }

func (b *bench) freeze(typ device.DType, shape ...int) device.Weight {
	n := 1
	for _, s := range shape {
		n *= s
	}
	data := make([]float32, n)
	for i := range data {
		data[i] = rand.Float32() - 0.5
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&data[0])), 4*n)
	if typ != device.F32 {
		half := make([]uint16, n)
		narrow(b.kernels, typ, half, data)
		raw = unsafe.Slice((*byte)(unsafe.Pointer(&half[0])), 2*n)
	}
	w, err := b.Freeze(device.HostWeight{Type: typ, Shape: shape, Data: raw})
	if err != nil {
		b.b.Fatal(err)
	}
	return w
}

// measure runs f as a benchmark of work multiply-adds.
func measure(b *testing.B, name string, work int, prepare func(*bench) func()) {
	b.Run(name, func(b *testing.B) {
		d := newBench(b)
		t := quickest(b, prepare(d))
		rate := 2 * float64(work) / t.Seconds()
		b.ReportMetric(rate/1e9, "GFLOP/s")
		b.ReportMetric(100*rate/d.peak, "%peak")
		b.ReportMetric(float64(t.Microseconds()), "µs")
		b.ReportMetric(0, "ns/op")
	})
}

var benchLinear = []struct{ m, n, k int }{
	{4096, 320, 320}, {4096, 2560, 320}, {4096, 320, 1280},
	{1024, 640, 640}, {1024, 5120, 640}, {256, 1280, 1280}, {256, 1280, 5120}, {64, 1280, 1280},
	{77, 320, 768}, {2, 1280, 320},
	{512, 64, 64}, {128, 256, 128}, {32, 160, 160}, // the embedded base
}

func BenchmarkLinear(b *testing.B) {
	for _, s := range benchLinear {
		for _, typ := range []device.DType{device.F32, device.F16} {
			measure(b, fmt.Sprintf("%dx%dx%d/%v", s.m, s.n, s.k, typ), s.m*s.n*s.k, func(d *bench) func() {
				x, y, w := d.matrix(s.m, s.k), d.matrix(s.m, s.n), d.freeze(typ, s.n, s.k)
				e := device.Epilogue{Bias: d.array(s.n)}
				return func() { d.Linear(y, x, w, nil, e) }
			})
		}
	}
}

func BenchmarkLinearBack(b *testing.B) {
	for _, s := range benchLinear {
		for _, typ := range []device.DType{device.F32, device.F16} {
			measure(b, fmt.Sprintf("%dx%dx%d/%v", s.m, s.n, s.k, typ), s.m*s.n*s.k, func(d *bench) func() {
				dx, dy, w := d.matrix(s.m, s.k), d.matrix(s.m, s.n), d.freeze(typ, s.n, s.k)
				return func() { d.LinearBack(dx, dy, w, nil, 0) }
			})
		}
	}
}

func BenchmarkMatMul(b *testing.B) {
	for _, s := range []struct {
		name           string
		m, n, k        int
		transA, transB bool
	}{
		{"Down", 4096, 4, 320, false, true},
		{"Down16", 4096, 16, 320, false, true},
		{"Up", 4096, 320, 4, false, true},
		{"DownGrad", 4, 320, 4096, true, false},
		{"UpGrad", 320, 4, 4096, true, false},
		{"WeightGrad", 320, 320, 4096, true, false},
		{"Square", 1024, 1024, 1024, false, false},
		{"SquareB", 1024, 1024, 1024, false, true},
	} {
		measure(b, s.name, s.m*s.n*s.k, func(d *bench) func() {
			a, bm, c := d.matrix(s.m, s.k), d.matrix(s.k, s.n), d.matrix(s.m, s.n)
			if s.transA {
				a = d.matrix(s.k, s.m)
			}
			if s.transB {
				bm = d.matrix(s.n, s.k)
			}
			return func() { d.MatMul(c, a, bm, s.transA, s.transB, 1, device.Epilogue{}) }
		})
	}
}

func same(n, hw, c, o int) device.ConvGeom {
	return device.ConvGeom{N: n, H: hw, W: hw, C: c, O: o, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
}

var benchConv = []struct {
	name string
	g    device.ConvGeom
}{
	{"64x320", same(1, 64, 320, 320)}, {"32x640", same(1, 32, 640, 640)},
	{"16x1280", same(1, 16, 1280, 1280)}, {"8x1280", same(1, 8, 1280, 1280)}, {"16x2560", same(1, 16, 2560, 1280)},
	{"In", same(1, 64, 4, 320)}, {"Out", same(1, 64, 320, 4)}, {"VAE256", same(1, 256, 128, 128)},
	{"Up", device.ConvGeom{N: 1, H: 32, W: 32, C: 320, O: 320, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1, UpH: 64, UpW: 64}},
	{"Down", device.ConvGeom{N: 1, H: 64, W: 64, C: 320, O: 320, KH: 3, KW: 3, Stride: 2, Top: 1, Left: 1, Bottom: 1, Right: 1}},
	{"Tiny16", same(2, 16, 64, 64)}, {"Tiny8", same(2, 8, 128, 128)}, {"Tiny4", same(2, 4, 160, 160)},
}

func convWork(g device.ConvGeom) int { return g.N * g.OutH() * g.OutW() * g.O * g.C * g.KH * g.KW }

func BenchmarkConv(b *testing.B) {
	for _, s := range benchConv {
		for _, typ := range []device.DType{device.F32, device.F16} {
			measure(b, fmt.Sprintf("%s/%v", s.name, typ), convWork(s.g), func(d *bench) func() {
				g := s.g
				x, y := d.array(g.N*g.H*g.W*g.C), d.array(g.N*g.OutH()*g.OutW()*g.O)
				w, e := d.freeze(typ, g.O, g.C, g.KH, g.KW), device.Epilogue{Bias: d.array(g.O)}
				return func() { d.Conv(y, x, w, g, nil, e) }
			})
		}
	}
}

func BenchmarkConvBack(b *testing.B) {
	for _, s := range benchConv {
		measure(b, s.name, convWork(s.g), func(d *bench) func() {
			g := s.g
			x, y := d.array(g.N*g.H*g.W*g.C), d.array(g.N*g.OutH()*g.OutW()*g.O)
			w := d.freeze(device.F32, g.O, g.C, g.KH, g.KW)
			return func() { d.ConvBack(x, y, w, g, 0) }
		})
	}
}

func BenchmarkConvWeightGrad(b *testing.B) {
	for _, g := range []device.ConvGeom{same(1, 64, 320, 4), same(1, 64, 320, 320)} {
		measure(b, fmt.Sprintf("%dx%dx%d", g.H, g.C, g.O), convWork(g), func(d *bench) func() {
			x, y, dw := d.array(g.N*g.H*g.W*g.C), d.array(g.N*g.H*g.W*g.O), d.array(g.O*g.C*9)
			return func() { d.ConvWeightGrad(dw, x, y, g, 0) }
		})
	}
}

var benchAttention = []device.AttentionGeom{
	{Batch: 1, Heads: 8, Dim: 40, TQ: 4096, TK: 4096, Scale: 0.158},
	{Batch: 1, Heads: 8, Dim: 40, TQ: 4096, TK: 77, Scale: 0.158},
	{Batch: 1, Heads: 8, Dim: 80, TQ: 1024, TK: 1024, Scale: 0.112},
	{Batch: 1, Heads: 8, Dim: 160, TQ: 256, TK: 256, Scale: 0.08},
	{Batch: 1, Heads: 1, Dim: 512, TQ: 4096, TK: 4096, Scale: 0.044},
	{Batch: 2, Heads: 4, Dim: 16, TQ: 256, TK: 256, Scale: 0.25},
}

func BenchmarkAttention(b *testing.B) {
	for _, g := range benchAttention {
		name := fmt.Sprintf("%dx%dx%d/%d,%d", g.Batch, g.Heads, g.Dim, g.TQ, g.TK)
		work := g.Batch * g.Heads * g.TQ * g.TK * g.Dim
		matrices := func(d *bench) (q, k, v, o device.Matrix, lse device.Array) {
			width := g.Heads * g.Dim
			return d.matrix(g.Batch*g.TQ, width), d.matrix(g.Batch*g.TK, width), d.matrix(g.Batch*g.TK, width),
				d.matrix(g.Batch*g.TQ, width), d.array(g.Batch * g.Heads * g.TQ)
		}
		measure(b, name+"/Forward", 2*work, func(d *bench) func() {
			q, k, v, o, lse := matrices(d)
			return func() { d.Attention(o, lse, q, k, v, g) }
		})
		measure(b, name+"/Back", 5*work, func(d *bench) func() {
			q, k, v, o, lse := matrices(d)
			dq, dk, dv, do, _ := matrices(d)
			d.Attention(o, lse, q, k, v, g)
			return func() { d.AttentionBack(dq, dk, dv, do, o, q, k, v, lse, g) }
		})
	}
}

func BenchmarkNorm(b *testing.B) {
	for _, g := range []device.NormGeom{
		{N: 1, Pixels: 4096, C: 320, Groups: 32, Eps: 1e-5}, {N: 1, Pixels: 256, C: 1280, Groups: 32, Eps: 1e-5},
		{N: 2, Pixels: 256, C: 64, Groups: 32, Eps: 1e-5}, {N: 1, Pixels: 1 << 16, C: 128, Groups: 32, Eps: 1e-6},
	} {
		size := g.N * g.Pixels * g.C
		name := fmt.Sprintf("%dx%dx%d", g.N, g.Pixels, g.C)
		measure(b, "Group/"+name, size, func(d *bench) func() {
			x, y, s, ga := d.array(size), d.array(size), d.array(2*g.N*g.Groups), d.array(g.C)
			return func() { d.GroupNorm(y, s, x, ga, ga, g, true) }
		})
		measure(b, "GroupBack/"+name, size, func(d *bench) func() {
			x, dx, dy, s, ga := d.array(size), d.array(size), d.array(size), d.array(2*g.N*g.Groups), d.array(g.C)
			none := device.Array{}
			return func() { d.GroupNormBack(dx, none, none, dy, x, s, ga, ga, g, true, 0) }
		})
		measure(b, "Layer/"+name, size, func(d *bench) func() {
			rows := g.N * g.Pixels
			x, y, s, ga := d.matrix(rows, g.C), d.matrix(rows, g.C), d.array(2*rows), d.array(g.C)
			return func() { d.LayerNorm(y, s, x, ga, ga, 1e-5) }
		})
	}
}

// BenchmarkCall measures what a call costs beside its work.
func BenchmarkCall(b *testing.B) {
	run := func(name string, prepare func(*bench) func()) {
		b.Run(name, func(b *testing.B) {
			f := prepare(newBench(b))
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
	run("Alloc", func(d *bench) func() {
		return func() {
			x, _ := d.Alloc(1 << 17)
			y, _ := d.Alloc(1 << 12)
			d.Release(x)
			d.Release(y)
		}
	})
	run("Add", func(d *bench) func() {
		x := d.array(16)
		return func() { d.Add(x, x, x) }
	})
	run("Linear", func(d *bench) func() {
		x, w, e := d.matrix(1, 16), d.freeze(device.F32, 16, 16), device.Epilogue{Bias: d.array(16)}
		y := d.matrix(1, 16)
		return func() { d.Linear(y, x, w, nil, e) }
	})
	run("Conv", func(d *bench) func() {
		g := same(1, 2, 16, 16)
		x, w := d.array(64), d.freeze(device.F32, 16, 16, 3, 3)
		y := d.array(64)
		return func() { d.Conv(y, x, w, g, nil, device.Epilogue{}) }
	})
	run("GroupNorm", func(d *bench) func() {
		g := device.NormGeom{N: 1, Pixels: 4, C: 16, Groups: 4, Eps: 1e-5}
		x, s, ga := d.array(64), d.array(8), d.array(16)
		return func() { d.GroupNorm(x, s, x, ga, ga, g, true) }
	})
	run("Attention", func(d *bench) func() {
		g := device.AttentionGeom{Batch: 1, Heads: 1, Dim: 16, TQ: 4, TK: 4, Scale: 1}
		x, o, lse := d.matrix(4, 16), d.matrix(4, 16), d.array(4)
		return func() { d.Attention(o, lse, x, x, x, g) }
	})
	run("Fork", func(d *bench) func() {
		x := d.array(1 << 19)
		return func() { d.Add(x, x, x) }
	})
}
