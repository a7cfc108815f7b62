package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestTranspose(t *testing.T) {
	for _, s := range []side{before, after} {
		for _, c := range []struct{ rows, cols int }{{0, 5}, {1, 1}, {16, 16}, {32, 48}, {8, 24}, {17, 33}, {31, 7}, {5, 40}, {45, 3}, {64, 100}} {
			r := rand.New(rand.NewPCG(uint64(c.rows), uint64(c.cols)))
			srcStride, dstStride := c.cols+r.IntN(3), c.rows+r.IntN(3)
			src := normals(r, flush[float32](t, s, max(0, (c.rows-1)*srcStride+c.cols)))
			src16 := flush[uint16](t, s, len(src))
			for i := range src16 {
				src16[i] = uint16(r.Uint32())
			}
			dst := flush[float32](t, s, max(0, (c.cols-1)*dstStride+c.rows))
			dst16 := flush[uint16](t, s, len(dst))
			for _, set := range All() {
				t.Run(fmt.Sprintf("%s/%v/%dx%d", set.Name, s, c.rows, c.cols), func(t *testing.T) {
					for i := range dst {
						dst[i], dst16[i] = -7, 7
					}
					set.Transpose(dst, dstStride, src, srcStride, c.rows, c.cols)
					set.Transpose16(dst16, dstStride, src16, srcStride, c.rows, c.cols)
					for i := range dst {
						want, want16 := float32(-7), uint16(7)
						if col, row := i/dstStride, i%dstStride; row < c.rows {
							want, want16 = src[row*srcStride+col], src16[row*srcStride+col]
						}
						if dst[i] != want || dst16[i] != want16 {
							t.Fatalf("element %d is %g and %d, want %g and %d", i, dst[i], dst16[i], want, want16)
						}
					}
				})
			}
		}
	}
}

func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	for _, set := range All() {
		for _, c := range []struct{ n, k int }{{1, 1}, {32, 32}, {40, 17}, {77, 64}, {96, 33}} {
			w := normals(r, make([]float32, c.n*c.k))
			panels := make([]float32, PanelLen(c.n, c.k))
			for i := range panels {
				panels[i] = float32(math.NaN())
			}
			set.Pack(panels, w, c.k, c.n, c.k)
			rows := make([]float32, len(panels))
			wT := make([]float32, len(w))
			transposeGeneric(wT, c.n, w, c.k, c.n, c.k)
			PackRows(rows, wT, c.n, c.k, c.n)
			for i, v := range panels {
				p, k, j := i/(c.k*Panel), i/Panel%c.k, i%Panel
				want := float32(0)
				if p*Panel+j < c.n {
					want = w[(p*Panel+j)*c.k+k]
				}
				if v != want || rows[i] != want {
					t.Fatalf("%s %v: panel %d k %d column %d is %g by Pack, %g by PackRows, want %g", set.Name, c, p, k, j, v, rows[i], want)
				}
			}
			back := make([]float32, (c.n+Panel-1)/Panel*Panel*Panel)
			for k0 := 0; k0 < c.k; k0 += Panel {
				set.TransposePanel(back, panels, c.n, c.k, k0)
				for i := range c.n * Panel {
					n, k := i/Panel, k0+i%Panel
					want := float32(0)
					if k < c.k {
						want = w[n*c.k+k]
					}
					if back[i] != want {
						t.Fatalf("%s %v: transposed panel at %d: row %d column %d is %g, want %g", set.Name, c, k0, n, k, back[i], want)
					}
				}
			}
		}
	}
}

// TestHalf runs through every f16 and bf16 number, and through the roundings
// around each.
func TestHalf(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	for _, set := range All() {
		wide := make([]float32, len(all))
		narrow := make([]uint16, len(all))
		set.WidenBF16(wide, all)
		for i, v := range wide {
			if math.Float32bits(v) != uint32(i)<<16 {
				t.Fatalf("%s: bf16 %04x widened to %08x", set.Name, i, math.Float32bits(v))
			}
		}
		set.WidenF16(wide, all)
		set.NarrowF16(narrow, wide)
		for i, v := range wide {
			sign := 1 - 2*float64(i>>15)
			want := sign * math.Ldexp(float64(i&0x3ff|0x400), i>>10&31-25)
			if e := i >> 10 & 31; e == 0 {
				want = sign * math.Ldexp(float64(i&0x3ff), -24)
			} else if e == 31 {
				want = math.Inf(int(sign))
				if i&0x3ff != 0 {
					if v == v || narrow[i]&0x7e00 != 0x7e00 {
						t.Fatalf("%s: NaN %04x widened to %g, narrowed to %04x", set.Name, i, v, narrow[i])
					}
					continue
				}
			}
			if float64(v) != want || narrow[i] != uint16(i) {
				t.Fatalf("%s: f16 %04x widened to %g, want %g; narrowed to %04x", set.Name, i, v, want, narrow[i])
			}
		}
		r := rand.New(rand.NewPCG(3, 3))
		x := make([]float32, 100003)
		for i := range x {
			x[i] = math.Float32frombits(r.Uint32())
			if i%4 == 0 { // exactly between two f16 or bf16 numbers
				x[i] = math.Float32frombits(r.Uint32()&^0xfff | 0x1000)
			}
			if i%4 == 1 {
				x[i] = math.Float32frombits(r.Uint32()&^0xffff | 0x8000)
			}
			if i%8 == 2 { // around f16's denormals
				x[i] = float32(r.NormFloat64() * 1e-5)
			}
		}
		f16, bf16 := make([]uint16, len(x)), make([]uint16, len(x))
		set.NarrowF16(f16, x)
		set.NarrowBF16(bf16, x)
		for i, v := range x {
			if want := f32ToF16(v); f16[i] != want {
				t.Fatalf("%s: %08x rounded to f16 %04x, want %04x", set.Name, math.Float32bits(v), f16[i], want)
			}
			if want := f32ToBF16(v); bf16[i] != want {
				t.Fatalf("%s: %08x rounded to bf16 %04x, want %04x", set.Name, math.Float32bits(v), bf16[i], want)
			}
			if v == v && math.Abs(float64(v)) < 65520 { // nearest: neither neighbour is closer
				d := math.Abs(float64(f16ToF32(f16[i])) - float64(v))
				for _, near := range []uint16{f16[i] + 1, f16[i] - 1} {
					if n := float64(f16ToF32(near)); n == n && math.Abs(n-float64(v)) < d {
						t.Fatalf("f16 of %g is %g, %g is nearer", v, f16ToF32(f16[i]), n)
					}
				}
			}
		}
	}
}

func TestDotRows(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 21))
		s := side(seed % 2)
		m, n, k := 1+r.IntN(15), 1+r.IntN(11), r.IntN(100)
		aStride, bStride, cStride := k+r.IntN(3), k+r.IntN(3), n+r.IntN(3)
		a := normals(r, flush[float32](t, s, (m-1)*aStride+k))
		b := normals(r, flush[float32](t, s, (n-1)*bStride+k))
		c := flush[float32](t, s, (m-1)*cStride+n)
		accumulate := r.IntN(2) == 0
		results := map[string][]float32{}
		for _, set := range All() {
			for i := range c {
				c[i] = 2
				if !accumulate && i%cStride < n {
					c[i] = float32(math.NaN())
				}
			}
			set.DotRows(c, cStride, a, aStride, b, bStride, m, n, k, accumulate)
			results[set.Name] = append([]float32(nil), c...)
			for i, v := range c {
				row, col := i/cStride, i%cStride
				want, size := 2.0, 0.0
				if col < n {
					if !accumulate {
						want = 0
					}
					for l := range k {
						p := float64(a[row*aStride+l]) * float64(b[col*bStride+l])
						want += p
						size += math.Abs(p)
					}
				}
				if !(math.Abs(float64(v)-want) <= 1e-6+1e-6*size) {
					t.Fatalf("seed %d: %s: C[%d,%d] = %g, want %g", seed, set.Name, row, col, v, want)
				}
			}
		}
		sameBits(t, results)
	}
}

func TestPhiloxAndDropout(t *testing.T) {
	d := Draw{Key: 0x0123456789abcdef, Counter: [3]uint32{7, 1 << 31, 9}}
	for _, s := range []side{before, after} {
		for n := 0; n < 300; n += 1 + n/7 {
			for _, first := range []uint64{0, 1, 6, 3<<32 + 2} {
				dst := flush[uint32](t, s, n)
				x := normals(rand.New(rand.NewPCG(1, 1)), flush[float32](t, s, n))
				y := flush[float32](t, s, n)
				for _, set := range All() {
					set.Philox(dst, d, first)
					const threshold, scale = 1 << 31, 2
					set.Dropout(y, x, d, first, threshold, scale)
					for i, v := range dst {
						number := first + uint64(i)
						want := d.Block(uint32(number / 4))[number%4]
						if v != want {
							t.Fatalf("%s: number %d is %08x, want %08x", set.Name, number, v, want)
						}
						kept := float32(0)
						if want >= threshold {
							kept = x[i] * scale
						}
						if y[i] != kept {
							t.Fatalf("%s: element %d became %g, want %g", set.Name, number, y[i], kept)
						}
					}
				}
			}
		}
	}
}
