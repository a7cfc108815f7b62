package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestWinograd compares each transform with its matrices in float64, and the
// sets with one another bit for bit, the operands against guard pages.
func TestWinograd(t *testing.T) {
	b := [][]float64{{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}}
	g := [][]float64{{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}}
	a := [][]float64{{1, 1, 1, 0}, {0, 1, -1, -1}}
	for _, s := range []side{before, after} {
		for _, n := range []int{1, 7, 8, 15, 16, 17, 40, 64} {
			t.Run(fmt.Sprintf("%v/%d", s, n), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(n), 5))
				part, pixel, row := n+2, n+3, 4*(n+3)+1
				src := normals(r, flush[float32](t, s, 3*(row+pixel)+n))
				dst := flush[float32](t, s, 15*part+n)
				check(t, "input", b, 4, n, src, row, pixel, dst, 4*part, part, func(set *Set) {
					set.WinogradInput(dst, part, src, pixel, row, n)
				})
				tap := n + 1
				src = normals(r, flush[float32](t, s, 8*tap+n))
				check(t, "weights", g, 3, n, src, 3*tap, tap, dst, 4*part, part, func(set *Set) {
					set.WinogradWeights(dst, part, src, tap, false, n)
				})
				turned := make([]float32, len(src))
				for i := range 9 {
					copy(turned[i*tap:], src[(8-i)*tap:][:n])
				}
				check(t, "mirrored", g, 3, n, turned, 3*tap, tap, dst, 4*part, part, func(set *Set) {
					set.WinogradWeights(dst, part, src, tap, true, n)
				})
				src = normals(r, flush[float32](t, s, 15*part+n))
				row = 2*pixel + 1
				dst = flush[float32](t, s, row+pixel+n)
				check(t, "output", a, 4, n, src, 4*part, part, dst, row, pixel, func(set *Set) {
					set.WinogradOutput(dst, pixel, row, src, part, n)
				})
			})
		}
	}
}

// check holds dst to be m·src·mᵀ, src size×size and dst len(m)×len(m) vectors
// of n elements.
func check(t *testing.T, name string, m [][]float64, size, n int, src []float32, srcRow, srcCol int,
	dst []float32, dstRow, dstCol int, run func(*Set)) {
	t.Helper()
	var first []float32
	for _, set := range All() {
		for i := range dst {
			dst[i] = float32(math.NaN())
		}
		run(set)
		got := append([]float32(nil), dst...)
		if first == nil {
			first = got
		}
		for i := range got {
			if math.Float32bits(got[i]) != math.Float32bits(first[i]) {
				t.Fatalf("%s: %s gives %v at %d, portable Go %v", name, set.Name, got[i], i, first[i])
			}
		}
		for y := range m {
			for x := range m {
				for c := range n {
					want := 0.0
					for i := range size {
						for j := range size {
							want += m[y][i] * m[x][j] * float64(src[i*srcRow+j*srcCol+c])
						}
					}
					if v := float64(got[y*dstRow+x*dstCol+c]); !(math.Abs(v-want) <= 3e-6) {
						t.Fatalf("%s: %s gives %v at (%d,%d) of channel %d, want %v", name, set.Name, v, y, x, c, want)
					}
				}
			}
		}
	}
}

func BenchmarkWinograd(b *testing.B) {
	const n = 128
	src, dst := make([]float32, 16*(n*32+16)), make([]float32, 16*(n*32+16))
	for _, s := range All() {
		b.Run("Input/"+s.Name, func(b *testing.B) {
			for b.Loop() {
				s.WinogradInput(dst, n+16, src, n, 4*n, n)
			}
		})
		b.Run("Weights/"+s.Name, func(b *testing.B) {
			for b.Loop() {
				s.WinogradWeights(dst, n*32+16, src, n*32+16, false, n*32)
			}
		})
		b.Run("Output/"+s.Name, func(b *testing.B) {
			for b.Loop() {
				s.WinogradOutput(dst, n, 2*n, src, n, n)
			}
		})
	}
}
