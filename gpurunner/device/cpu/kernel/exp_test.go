package kernel

import (
	"math"
	"testing"
)

// ulps is |got−want| in units of the last place of want's float32, at least
// those of floor.
func ulps(got float32, want, floor float64) float64 {
	m := math.Max(math.Abs(want), floor)
	_, e := math.Frexp(m)
	return math.Abs(float64(got)-want) / math.Ldexp(1, e-24)
}

func exactGELU(x float64) float64 { return x / 2 * math.Erfc(-x/math.Sqrt2) }

func TestTranscendentals(t *testing.T) {
	for _, c := range []struct {
		name   string
		f      func(*Set) func(y, x []float32)
		want   func(float64) float64
		lo, hi float32
		limit  float64 // in ulps
	}{
		{"Exp", func(s *Set) func(y, x []float32) { return s.Exp }, math.Exp, -87, 88.7, 2},
		// Below zero GELU keeps its own digits: 2^-17 of itself, what rounding x/√2 and a polynomial as large as 25 leaves.
		{"GELU", func(s *Set) func(y, x []float32) { return s.GELU }, exactGELU, -7, 12, 128},
	} {
		for _, s := range All() {
			t.Run(c.name+"/"+s.Name, func(t *testing.T) {
				const n = 200001
				x, y := make([]float32, n), make([]float32, n)
				for i := range x {
					x[i] = c.lo + (c.hi-c.lo)*float32(i)/(n-1)
				}
				c.f(s)(y, x)
				worst, where := 0.0, float32(0)
				for i := range x {
					if u := ulps(y[i], c.want(float64(x[i])), 1e-37); u > worst || u != u {
						worst, where = u, x[i]
					}
				}
				t.Logf("largest error %.2f ulp at %g", worst, where)
				if !(worst <= c.limit) {
					t.Errorf("error %.2f ulp at %g, want at most %g", worst, where, c.limit)
				}
			})
		}
	}
}

func TestGELUFarBelow(t *testing.T) {
	x := make([]float32, 1000)
	for i := range x {
		x[i] = -7 - float32(i*i)*0.3
	}
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			y := make([]float32, len(x))
			s.GELU(y, x)
			for i, v := range y {
				if !(v <= 0 && v > -1e-9) {
					t.Fatalf("GELU(%g) = %g, want at most 1e-9 below 0", x[i], v)
				}
			}
		})
	}
}

func TestExpEdges(t *testing.T) {
	inf := float32(math.Inf(1))
	nan := math.Float32frombits(0xffffffff)
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			for _, c := range []struct{ x, want float32 }{
				{0, 1}, {-87.01, 0}, {-1000, 0}, {-inf, 0}, {88.73, inf}, {1e30, inf}, {inf, inf},
			} {
				// Both a full vector and a masked tail must do it.
				x, y := make([]float32, 19), make([]float32, 19)
				for i := range x {
					x[i] = c.x
				}
				s.Exp(y, x)
				for i := range y {
					if y[i] != c.want {
						t.Fatalf("exp(%g) = %g in lane %d, want %g", c.x, y[i], i, c.want)
					}
				}
			}
			for _, f := range []func(y, x []float32){s.Exp, s.SiLU, s.GELU, s.GELUTanh, s.QuickGELU} {
				y := make([]float32, 1)
				if f(y, []float32{nan}); y[0] == y[0] {
					t.Errorf("NaN became %g", y[0])
				}
			}
		})
	}
}

func TestNormals(t *testing.T) {
	const n = 1 << 18
	x := make([]float32, n)
	d := Draw{Key: 42, Counter: [3]uint32{1, 2, 3}}
	Normals(x, d, 0)
	var m [5]float64
	for _, v := range x {
		p := 1.0
		for i := range m {
			m[i] += p / n
			p *= float64(v)
		}
	}
	if math.Abs(m[1]) > 0.01 || math.Abs(m[2]-1) > 0.01 || math.Abs(m[3]) > 0.03 || math.Abs(m[4]-3) > 0.05 {
		t.Errorf("moments %v, want 1 0 1 0 3", m)
	}
	part := make([]float32, 11)
	Normals(part, d, 5)
	for i, v := range part {
		if v != x[5+i] {
			t.Fatalf("number %d depends on where the draw starts", 5+i)
		}
	}
	// The first words of this stream and the exact transform.
	b := d.Block(0)
	u := (float64(b[0]>>8) + 1) / (1 << 24)
	angle := 2 * math.Pi * float64(b[1]>>8) / (1 << 24)
	want := math.Sqrt(-2*math.Log(u)) * math.Cos(angle)
	if math.Abs(float64(x[0])-want) > 1e-6 {
		t.Errorf("first number %g, want %g", x[0], want)
	}
}

func TestSinCosLog(t *testing.T) {
	for i := range uint32(1 << 16) {
		v := i << 8
		sin, cos := sinCosTurn(v)
		a := 2 * math.Pi * float64(v) / (1 << 24)
		if math.Abs(float64(sin)-math.Sin(a)) > 1.3e-7 || math.Abs(float64(cos)-math.Cos(a)) > 1.3e-7 {
			t.Fatalf("turn %d: %g %g, want %g %g", v, sin, cos, math.Sin(a), math.Cos(a))
		}
		x := float32(v+1) / (1 << 24)
		if u := ulps(log32(x), math.Log(float64(x)), 1e-30); u > 2 {
			t.Fatalf("log(%g) is %.2f ulp off", x, u)
		}
	}
}

// TestPhiloxVectors checks the known answers that come with Random123.
func TestPhiloxVectors(t *testing.T) {
	for _, c := range []struct {
		d    Draw
		i    uint32
		want [4]uint32
	}{
		{Draw{}, 0, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{Draw{^uint64(0), [3]uint32{^uint32(0), ^uint32(0), ^uint32(0)}}, ^uint32(0), [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{Draw{0x299f31d0_a4093822, [3]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e}}, 0x03707344, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := c.d.Block(c.i); got != c.want {
			t.Errorf("got %08x, want %08x", got, c.want)
		}
	}
}
