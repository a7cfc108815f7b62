package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// product is a random Tile over guarded memory, with what it should give.
type product struct {
	tile Tile
	c    []float32 // all of C, rows stride apart
	want []float64
	size []float64 // Σ|a·b|, the scale of its rounding error
}

func newProduct(t testing.TB, r *rand.Rand, s side, m, n int, kinds []segmentKind, accumulate bool) *product {
	stride := n + r.IntN(5)
	p := &product{
		c:    normals(r, flush[float32](t, s, (m-1)*stride+n)),
		want: make([]float64, m*n),
		size: make([]float64, m*n),
	}
	row := r.IntN(3)
	p.tile = Tile{C: &p.c[0], CStride: stride, M: m, N: n, Row: row, Accumulate: accumulate}
	if accumulate {
		for i := range m {
			for j := range n {
				p.want[i*n+j] = float64(p.c[i*stride+j])
			}
		}
	}
	for _, kind := range kinds {
		p.segment(t, r, s, row, kind)
	}
	return p
}

type segmentKind struct {
	k          int
	typ        BType
	transposed bool // A is stored [K,M]
	inPlace    bool // B has a row stride of its own
}

func (p *product) segment(t testing.TB, r *rand.Rand, s side, row int, kind segmentKind) {
	m, n, k := p.tile.M, p.tile.N, kind.k
	if k == 0 {
		p.tile.Segments = append(p.tile.Segments, Segment{ARow: 1, ACol: 1, BRow: Panel, Type: kind.typ})
		return
	}
	seg := Segment{ACol: 1, ARow: k + r.IntN(4), K: k, Type: kind.typ, BRow: Panel}
	if kind.transposed {
		seg.ARow, seg.ACol = 1, row+m+r.IntN(4)
	}
	a := normals(r, flush[float32](t, s, (row+m-1)*seg.ARow+(k-1)*seg.ACol+1))
	seg.A = &a[0]
	cols := Panel
	if kind.typ == F32 {
		cols = n
		if kind.inPlace {
			seg.BRow = n + r.IntN(9)
		}
	}
	wide := make([]float32, (k-1)*seg.BRow+cols)
	switch kind.typ {
	case F32:
		wide = normals(r, flush[float32](t, s, len(wide)))
		seg.B = unsafe.Pointer(&wide[0])
	default:
		narrow, widen := narrowF16Generic, widenF16Generic
		if kind.typ == BF16 {
			narrow, widen = narrowBF16Generic, widenBF16Generic
		}
		half := flush[uint16](t, s, len(wide))
		narrow(half, normals(r, wide))
		widen(wide, half)
		seg.B = unsafe.Pointer(&half[0])
	}
	for i := range m {
		for j := range n {
			for l := range k {
				v := float64(a[(row+i)*seg.ARow+l*seg.ACol]) * float64(wide[l*seg.BRow+j])
				p.want[i*n+j] += v
				p.size[i*n+j] += math.Abs(v)
			}
		}
	}
	p.tile.Segments = append(p.tile.Segments, seg)
}

// run computes the tile over a copy of C and returns C.
func (p *product) run(s *Set) []float32 {
	saved := append([]float32(nil), p.c...)
	s.MatMul(&p.tile)
	got := append([]float32(nil), p.c...)
	copy(p.c, saved)
	return got
}

func (p *product) check(t *testing.T, s *Set) []float32 {
	t.Helper()
	got := p.run(s)
	stride, n := p.tile.CStride, p.tile.N
	for i, v := range got {
		row, col := i/stride, i%stride
		if col >= n {
			if v != p.c[i] {
				t.Fatalf("%s wrote column %d of a row of %d", s.Name, col, n)
			}
			continue
		}
		want := p.want[row*n+col]
		if bound := 1e-6 + 2e-6*p.size[row*n+col]; !(math.Abs(float64(v)-want) <= bound) {
			t.Fatalf("%s: C[%d,%d] = %g, want %g ± %g", s.Name, row, col, v, want, bound)
		}
	}
	return got
}

// sameBits fails where the assembly sets disagree.
func sameBits(t *testing.T, got map[string][]float32) {
	t.Helper()
	a, b := got["avx2"], got["avx512"]
	if a == nil || b == nil {
		return
	}
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			t.Fatalf("element %d: avx2 %g (%08x), avx512 %g (%08x)", i, a[i], math.Float32bits(a[i]), b[i], math.Float32bits(b[i]))
		}
	}
}

func TestMatMulEveryTile(t *testing.T) {
	for _, s := range []side{before, after} {
		for m := 1; m <= 17; m++ {
			for n := 1; n <= Panel; n++ {
				r := rand.New(rand.NewPCG(uint64(m), uint64(n)))
				p := newProduct(t, r, s, m, n, []segmentKind{{k: 1 + r.IntN(9), inPlace: n%2 == 0}}, m%2 == 0)
				got := map[string][]float32{}
				for _, set := range All() {
					got[set.Name] = p.check(t, set)
				}
				sameBits(t, got)
			}
		}
	}
}

func TestMatMulSegments(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			kinds := make([]segmentKind, r.IntN(5))
			for i := range kinds {
				kinds[i] = segmentKind{r.IntN(90), BType(r.IntN(3)), r.IntN(2) == 0, r.IntN(2) == 0}
			}
			p := newProduct(t, r, side(seed%2), 1+r.IntN(40), 1+r.IntN(Panel), kinds, r.IntN(2) == 0)
			got := map[string][]float32{}
			for _, set := range All() {
				got[set.Name] = p.check(t, set)
			}
			sameBits(t, got)
		})
	}
}

// TestMatMulFreshMemory checks that C is not read unless it is added to.
func TestMatMulFreshMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, set := range All() {
		p := newProduct(t, r, after, 15, 31, []segmentKind{{k: 3}}, false)
		for i := range p.c {
			p.c[i] = float32(math.NaN())
		}
		for i, v := range p.run(set) {
			if i%p.tile.CStride < 31 && v != v {
				t.Fatalf("%s read C", set.Name)
			}
		}
	}
}

// TestMatMulSplit checks that a row's bits do not depend on the rows beside it.
func TestMatMulSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, set := range All() {
		p := newProduct(t, r, after, 29, 32, []segmentKind{{k: 77}, {k: 5, typ: F16}}, false)
		whole := p.run(set)
		for row := range 29 {
			q := *p
			q.tile.C, q.tile.M, q.tile.Row = at(p.tile.C, row*p.tile.CStride), 1, p.tile.Row+row
			part := q.run(set)
			for j := range 32 {
				if i := row*p.tile.CStride + j; part[i] != whole[i] {
					t.Fatalf("%s: row %d differs alone", set.Name, row)
				}
			}
		}
	}
}
