package half

import (
	"math"
	"math/rand/v2"
	"testing"
)

// f16Value is binary16 by its definition, in float64: the oracle of this file.
func f16Value(h uint16) float64 {
	fraction, exponent := float64(h&0x3ff), int(h>>10&0x1f)
	var v float64
	switch {
	case exponent == 31 && fraction != 0:
		return math.NaN()
	case exponent == 31:
		v = math.Inf(1)
	case exponent == 0:
		v = math.Ldexp(fraction, -24)
	default:
		v = math.Ldexp(1024+fraction, exponent-25)
	}
	if h&0x8000 != 0 {
		v = math.Copysign(v, -1)
	}
	return v
}

func same(a, b float32) bool {
	if a != a || b != b {
		return a != a && b != b
	}
	return math.Float32bits(a) == math.Float32bits(b)
}

func TestF16All(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got, want := FromF16(h), float32(f16Value(h))
		if !same(got, want) {
			t.Fatalf("FromF16(%#04x) = %v, want %v", h, got, want)
		}
		back := ToF16(got)
		if got != got {
			if !math.IsNaN(f16Value(back)) || back&0x8000 != h&0x8000 {
				t.Fatalf("NaN %#04x came back as %#04x", h, back)
			}
		} else if back != h {
			t.Fatalf("ToF16(FromF16(%#04x)) = %#04x", h, back)
		}
	}
}

// TestF16Rounding checks every boundary between neighbouring finite values: just below the middle, the
// middle itself (even wins), and just above.
func TestF16Rounding(t *testing.T) {
	for h := uint16(0); h < 0x7c00; h++ {
		low := f16Value(h)
		high := f16Value(h + 1)
		if h == 0x7bff {
			high = 65536 // the value that would follow the largest: half way to it rounds to infinity
		}
		middle := float32((low + high) / 2) // exact: one bit more than binary16 has
		even := h
		if h&1 == 1 {
			even = h + 1
		}
		for _, c := range []struct {
			f    float32
			want uint16
		}{
			{math.Nextafter32(middle, 0), h},
			{middle, even},
			{math.Nextafter32(middle, float32(math.Inf(1))), h + 1},
		} {
			if got := ToF16(c.f); got != c.want {
				t.Fatalf("ToF16(%v) = %#04x, want %#04x", c.f, got, c.want)
			}
			if got := ToF16(-c.f); got != c.want|0x8000 {
				t.Fatalf("ToF16(%v) = %#04x, want %#04x", -c.f, got, c.want|0x8000)
			}
		}
	}
}

func TestF16Extremes(t *testing.T) {
	for _, c := range []struct {
		name string
		f    float32
		want uint16
	}{
		{"MaxFloat32", math.MaxFloat32, 0x7c00},
		{"65519.996", math.Nextafter32(65520, 0), 0x7bff},
		{"65520", 65520, 0x7c00},
		{"65536", 65536, 0x7c00},
		{"Inf", float32(math.Inf(1)), 0x7c00},
		{"NegInf", float32(math.Inf(-1)), 0xfc00},
		{"SmallestFloat32", math.SmallestNonzeroFloat32, 0},
		{"NegZero", float32(math.Copysign(0, -1)), 0x8000},
		{"NaNPayloadLow", math.Float32frombits(0x7f800001), 0x7e00},
	} {
		if got := ToF16(c.f); got != c.want {
			t.Errorf("%s: got %#04x, want %#04x", c.name, got, c.want)
		}
	}
}

func TestBF16All(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := FromBF16(h)
		if math.Float32bits(f) != uint32(h)<<16 {
			t.Fatalf("FromBF16(%#04x) = %v", h, f)
		}
		back := ToBF16(f)
		if f != f {
			if g := FromBF16(back); g == g {
				t.Fatalf("NaN %#04x came back as %#04x", h, back)
			}
			continue
		}
		if back != h {
			t.Fatalf("ToBF16(FromBF16(%#04x)) = %#04x", h, back)
		}
		if h&0x7fff >= 0x7f80 {
			continue
		}
		// The middle between h and its successor in magnitude, and its neighbours.
		middle := uint32(h)<<16 | 0x8000
		even := h + h&1
		for _, c := range []struct {
			bits uint32
			want uint16
		}{{middle - 1, h}, {middle, even}, {middle + 1, h + 1}} {
			if got := ToBF16(math.Float32frombits(c.bits)); got != c.want {
				t.Fatalf("ToBF16(%#08x) = %#04x, want %#04x", c.bits, got, c.want)
			}
		}
	}
}

func TestSlices(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	src := make([]float32, 257)
	for i := range src {
		src[i] = math.Float32frombits(r.Uint32())
	}
	for _, c := range []struct {
		name   string
		append func([]byte, []float32) []byte
		decode func([]float32, []byte)
		one    func(float32) float32
	}{
		{"F16", AppendF16, DecodeF16, func(f float32) float32 { return FromF16(ToF16(f)) }},
		{"BF16", AppendBF16, DecodeBF16, func(f float32) float32 { return FromBF16(ToBF16(f)) }},
		{"F32", AppendF32, DecodeF32, func(f float32) float32 { return f }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bytes := c.append([]byte{0xff}, src) // starts at an odd address
			got := make([]float32, len(src))
			c.decode(got, bytes[1:])
			for i := range src {
				if want := c.one(src[i]); !same(got[i], want) {
					t.Fatalf("[%d] got %v, want %v", i, got[i], want)
				}
			}
		})
	}
}

func BenchmarkDecodeF16(b *testing.B) {
	src := AppendF16(nil, make([]float32, 1<<16))
	for i := range src {
		src[i] = byte(i*7) & 0x3f
	}
	dst := make([]float32, 1<<16)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		DecodeF16(dst, src)
	}
}

func BenchmarkAppendF16(b *testing.B) {
	src := make([]float32, 1<<16)
	for i := range src {
		src[i] = float32(i) / 1000
	}
	dst := make([]byte, 0, 2<<16)
	b.SetBytes(2 << 16)
	for b.Loop() {
		AppendF16(dst, src)
	}
}
