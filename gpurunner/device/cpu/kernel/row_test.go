package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// rowCase is one kernel over slices: x are operands of n elements (or
// rows·n where grid says so), changed in place; what it returns is compared
// too.
type rowCase struct {
	name  string
	args  int
	grids int // the first so many are [rows,n] with a stride
	run   func(s *Set, x [][]float32, n, stride, rows int) []float32
}

func mapCase(name string, f func(s *Set) func(y, x []float32)) rowCase {
	return rowCase{name, 2, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { f(s)(x[0], x[1]); return nil }}
}

func backCase(name string, f func(s *Set) func(dx, dy, x []float32)) rowCase {
	return rowCase{name, 3, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { f(s)(x[0], x[1], x[2]); return nil }}
}

func rowCases() []rowCase {
	cases := []rowCase{
		mapCase("Exp", func(s *Set) func(y, x []float32) { return s.Exp }),
		mapCase("SiLU", func(s *Set) func(y, x []float32) { return s.SiLU }),
		mapCase("GELU", func(s *Set) func(y, x []float32) { return s.GELU }),
		mapCase("GELUTanh", func(s *Set) func(y, x []float32) { return s.GELUTanh }),
		mapCase("QuickGELU", func(s *Set) func(y, x []float32) { return s.QuickGELU }),
		backCase("SiLUBack", func(s *Set) func(dx, dy, x []float32) { return s.SiLUBack }),
		backCase("GELUBack", func(s *Set) func(dx, dy, x []float32) { return s.GELUBack }),
		backCase("GELUTanhBack", func(s *Set) func(dx, dy, x []float32) { return s.GELUTanhBack }),
		backCase("QuickGELUBack", func(s *Set) func(dx, dy, x []float32) { return s.QuickGELUBack }),
		backCase("GEGLU", func(s *Set) func(dx, dy, x []float32) { return s.GEGLU }),
		backCase("Add", func(s *Set) func(dx, dy, x []float32) { return s.Add }),
		backCase("Mul", func(s *Set) func(dx, dy, x []float32) { return s.Mul }),
		backCase("MulAdd", func(s *Set) func(dx, dy, x []float32) { return s.MulAdd }),
		{"GEGLUBack", 5, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			s.GEGLUBack(x[0], x[1], x[2], x[3], x[4])
			return nil
		}},
		{"Scale", 2, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { s.Scale(x[0], 1.7, x[1]); return nil }},
		{"Axpy", 2, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { s.Axpy(x[0], 1.7, x[1]); return nil }},
		{"Sum", 1, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { return []float32{s.Sum(x[0])} }},
		{"SumSquares", 1, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { return []float32{s.SumSquares(x[0])} }},
		{"SumSquaresFrom", 1, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			return []float32{s.SumSquaresFrom(x[0], 0.4)}
		}},
		{"Dot", 2, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { return []float32{s.Dot(x[0], x[1])} }},
		{"Max", 1, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 { return []float32{s.Max(x[0])} }},
		{"MaxNegative", 1, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			for i := range x[0] {
				x[0][i] -= 100
			}
			return []float32{s.Max(x[0])}
		}},
		{"ExpSum", 2, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			return []float32{s.ExpSum(x[0], x[1], 0.8, 2.5)}
		}},
		{"SoftmaxBack", 3, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			s.SoftmaxBack(x[0], x[1], x[2], 0.3, 0.6)
			return nil
		}},
		{"Normalize", 4, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			s.Normalize(x[0], x[1], 0.2, 1.3, x[2], x[3])
			return nil
		}},
		{"NormalizeBackSums", 3, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			a, b := s.NormalizeBackSums(x[0], x[1], x[2], 0.2, 1.3)
			return []float32{a, b}
		}},
		{"NormalizeBack", 4, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			s.NormalizeBack(x[0], x[1], x[2], x[3], 0.2, 1.3, 0.1, -0.2)
			return nil
		}},
		{"NormalizeBackParams", 4, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			s.NormalizeBackParams(x[0], x[1], x[2], x[3], 0.2, 1.3)
			return nil
		}},
		{"AdamW", 4, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			for i, v := range x[3] {
				x[3][i] = v * v
			}
			h := NewAdamWStep(1e-3, 0.9, 0.999, 1e-8, 0.01, 0.5, 3)
			s.AdamW(x[0], x[1], x[2], x[3], &h)
			return nil
		}},
		{"ColumnSums", 2, 1, func(s *Set, x [][]float32, _, stride, rows int) []float32 {
			s.ColumnSums(x[1], x[0], stride, rows)
			return nil
		}},
		{"ColumnSquares", 3, 1, func(s *Set, x [][]float32, _, stride, rows int) []float32 {
			s.ColumnSquares(x[1], x[2], x[0], stride, rows)
			return nil
		}},
		{"Affine", 4, 2, func(s *Set, x [][]float32, n, stride, rows int) []float32 {
			s.Affine(x[0], stride, x[1], stride, x[2], x[3], rows)
			return nil
		}},
		{"AffineSiLU", 4, 2, func(s *Set, x [][]float32, n, stride, rows int) []float32 {
			s.AffineSiLU(x[0], stride, x[1], stride, x[2], x[3], rows)
			return nil
		}},
	}
	for terms := 1; terms <= 5; terms++ {
		cases = append(cases, rowCase{fmt.Sprintf("Combine%d", terms), 6, 0, func(s *Set, x [][]float32, _, _, _ int) []float32 {
			var list []Term
			for i := range terms {
				list = append(list, Term{float32(i) - 1.5, x[i+1]})
			}
			s.Combine(x[0], list)
			return nil
		}})
	}
	for _, silu := range []bool{false, true} {
		norm := func(x [][]float32, stride, rows int) *ColumnNorm {
			return &ColumnNorm{DX: x[0], X: x[1], DY: x[2], DXStride: stride, XStride: stride, DYStride: stride, Rows: rows, SiLU: silu,
				Mean: x[3], Rstd: x[4], A: x[5], B: x[6], P: x[7], Q: x[8], T: x[9], Sum: x[10], SumX: x[11]}
		}
		cases = append(cases,
			rowCase{fmt.Sprintf("ColumnBackSums/silu=%v", silu), 12, 3, func(s *Set, x [][]float32, _, stride, rows int) []float32 {
				s.ColumnBackSums(norm(x, stride, rows))
				return nil
			}},
			rowCase{fmt.Sprintf("ColumnBack/silu=%v", silu), 12, 3, func(s *Set, x [][]float32, _, stride, rows int) []float32 {
				s.ColumnBack(norm(x, stride, rows))
				return nil
			}})
	}
	return cases
}

func TestRows(t *testing.T) {
	for _, c := range rowCases() {
		for _, s := range []side{before, after} {
			t.Run(c.name+"/"+s.String(), func(t *testing.T) {
				const most = 300
				guarded := make([][]float32, c.args)
				for i := range guarded {
					guarded[i] = flush[float32](t, s, 4*(most+3))
				}
				for n := 0; n <= most; n += 1 + n/20 {
					c.compare(t, s, guarded, n)
				}
			})
		}
	}
}

// compare runs the case at n elements on every set, the operands laid flush
// against their guard pages.
func (c rowCase) compare(t *testing.T, s side, guarded [][]float32, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(n), 11))
	rows, stride := 1+n%4, n+n%3
	x := make([][]float32, c.args)
	input := make([][]float32, c.args)
	for i := range x {
		size := n
		if i < c.grids {
			size = (rows-1)*stride + n
		}
		x[i] = guarded[i][:size]
		if s == after {
			x[i] = guarded[i][len(guarded[i])-size:]
		}
		input[i] = append([]float32(nil), normals(r, x[i])...)
	}
	results := map[string][]float32{}
	var want []float32
	sums := 0 // how many of the results are sums over n
	for _, set := range All() {
		for i := range x {
			copy(x[i], input[i])
		}
		got := append([]float32(nil), c.run(set, x, n, stride, rows)...)
		sums = len(got)
		for i := range x {
			got = append(got, x[i]...)
		}
		results[set.Name] = got
		if want == nil {
			want = got
			continue
		}
		for i := range want {
			bound := 2e-6 * (2 + math.Abs(float64(want[i])))
			if i < sums {
				bound = 4e-6 * float64(1+n)
			}
			if got[i] != want[i] && !(math.Abs(float64(got[i])-float64(want[i])) <= bound) {
				t.Fatalf("n=%d: %s gives %g as result %d, portable Go %g", n, set.Name, got[i], i, want[i])
			}
		}
	}
	sameBits(t, results)
}

// TestRowsInPlace checks that an output may be an input.
func TestRowsInPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := normals(r, make([]float32, 77))
	for _, set := range All() {
		for name, f := range map[string]func(y, x []float32){"GELU": set.GELU, "SiLU": set.SiLU, "Exp": set.Exp} {
			want := make([]float32, len(x))
			f(want, x)
			got := append([]float32(nil), x...)
			f(got, got)
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s %s in place: element %d is %g, want %g", set.Name, name, i, got[i], want[i])
				}
			}
		}
	}
}

func TestLengthsThatDisagreePanic(t *testing.T) {
	for _, set := range All() {
		for name, f := range map[string]func(){
			"Add":  func() { set.Add(make([]float32, 3), make([]float32, 2), make([]float32, 3)) },
			"SiLU": func() { set.SiLU(make([]float32, 3), make([]float32, 2)) },
			"Affine": func() {
				set.Affine(make([]float32, 4), 2, make([]float32, 3), 2, make([]float32, 2), make([]float32, 2), 2)
			},
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s %s: no panic", set.Name, name)
					}
				}()
				f()
			}()
		}
	}
}
