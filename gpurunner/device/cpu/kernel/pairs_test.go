package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// pairTile is a random Tile of pairs over guarded memory, C and all.
func pairTile(t testing.TB, r *rand.Rand, s side, m, n int, steps []int, accumulate bool, number func() float32) (*Tile, []float32) {
	stride := n + r.IntN(5)
	c := normals(r, flush[float32](t, s, (m-1)*stride+n))
	tile := &Tile{C: &c[0], CStride: stride, M: m, N: n, Row: r.IntN(3), Accumulate: accumulate}
	for _, k := range steps {
		seg := Segment{ACol: 1, ARow: k*PairStep + r.IntN(4), K: k * PairStep, BRow: Panel}
		if k > 0 {
			a := flush[float32](t, s, (tile.Row+m-1)*seg.ARow+seg.K)
			b := flush[float32](t, s, seg.K*Panel)
			for _, x := range [][]float32{a, b} {
				for i := range x {
					zipBF16Generic(x[i:i+1], []float32{number()}, []float32{number()})
				}
			}
			seg.A, seg.B = &a[0], unsafe.Pointer(&b[0])
		}
		tile.Segments = append(tile.Segments, seg)
	}
	return tile, c
}

func emulationOf(p *Pairs) *Pairs { return LookupPairs("emulated-" + p.Name) }

func runPairs(p *Pairs, t *Tile, c []float32) []float32 {
	saved := append([]float32(nil), c...)
	p.MatMul(t)
	got := append([]float32(nil), c...)
	copy(c, saved)
	return got
}

// The kernels give the bits of their emulations, of everyday numbers and of
// those at the ends of the range.
func TestPairs(t *testing.T) {
	if len(PairSets()) == 0 {
		t.Skip("this machine has neither AMX nor AVX512-BF16; TestEmulatedPairs holds their emulations")
	}
	numbers := map[string]func(r *rand.Rand) float32{
		"Normal": func(r *rand.Rand) float32 { return float32(r.NormFloat64()) },
		"Range": func(r *rand.Rand) float32 {
			return float32(math.Ldexp(r.NormFloat64(), r.IntN(180)-120))
		},
		"Denormal": func(r *rand.Rand) float32 { return float32(math.Ldexp(r.NormFloat64(), -64-r.IntN(70))) },
	}
	for _, p := range PairSets() {
		oracle := emulationOf(p)
		for name, number := range numbers {
			for _, s := range []side{before, after} {
				t.Run(fmt.Sprintf("%s/%s/%v", p.Name, name, s), func(t *testing.T) {
					r := rand.New(rand.NewPCG(1, 2))
					for i := range 150 {
						m, n := 1+r.IntN(70), 1+r.IntN(Panel)
						steps := make([]int, r.IntN(3))
						for j := range steps {
							steps[j] = r.IntN(4)
						}
						tile, c := pairTile(t, r, s, m, n, steps, i%2 == 1, func() float32 { return number(r) })
						got, want := runPairs(p, tile, c), runPairs(oracle, tile, c)
						for j := range got {
							if math.Float32bits(got[j]) != math.Float32bits(want[j]) && !(got[j] != got[j] && want[j] != want[j]) {
								t.Fatalf("%d×%d, steps %v, accumulate %v: C[%d,%d] is %g (%#x), emulated %g (%#x)", m, n, steps, tile.Accumulate,
									j/tile.CStride, j%tile.CStride, got[j], math.Float32bits(got[j]), want[j], math.Float32bits(want[j]))
							}
						}
					}
				})
			}
		}
	}
}

// The emulations against sums in float64.
func TestEmulatedPairs(t *testing.T) {
	for _, p := range EmulatedPairs() {
		t.Run(p.Name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 4))
			for range 30 {
				tile, c := pairTile(t, r, after, 1+r.IntN(20), 1+r.IntN(Panel), []int{r.IntN(3), 1 + r.IntN(3)}, true,
					func() float32 { return float32(r.NormFloat64()) })
				got := runPairs(p, tile, c)
				for m := range tile.M {
					for n := range tile.N {
						sum, size := float64(c[m*tile.CStride+n]), 0.0
						for _, s := range tile.Segments {
							for k := range s.K {
								x := math.Float32bits(*at(s.A, (tile.Row+m)*s.ARow+k))
								y := math.Float32bits(*at((*float32)(s.B), k*Panel+n))
								for _, v := range [][2]uint32{{x << 16, y << 16}, {x &^ 0xffff, y &^ 0xffff}} {
									product := float64(math.Float32frombits(v[0])) * float64(math.Float32frombits(v[1]))
									sum += product
									size += math.Abs(product)
								}
							}
						}
						if g := float64(got[m*tile.CStride+n]); !(math.Abs(g-sum) <= 1e-6+2e-6*size) {
							t.Fatalf("C[%d,%d] = %g, want %g", m, n, g, sum)
						}
					}
				}
			}
		})
	}
}

// Signals that interrupt a kernel, as the runtime sends them to preempt, do not
// change what its tiles hold.
func TestPairsPreempted(t *testing.T) {
	if len(PairSets()) == 0 {
		t.Skip("this machine has neither AMX nor AVX512-BF16")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var stop atomic.Bool
	var signals atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
			interrupt()
			signals.Add(1)
			if signals.Load()%64 == 0 {
				runtime.GC()
			}
		}
	}()
	for _, p := range PairSets() {
		r := rand.New(rand.NewPCG(5, 6))
		tile, c := pairTile(t, r, after, 224, Panel, []int{16}, false, func() float32 { return float32(r.NormFloat64()) })
		want := runPairs(p, tile, c)
		calls := 0
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); calls++ {
			got := runPairs(p, tile, c)
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s: C[%d] is %g after %d calls under signals, alone %g", p.Name, i, got[i], calls, want[i])
				}
			}
		}
		t.Logf("%s: %d calls, %d signals", p.Name, calls, signals.Load())
	}
	stop.Store(true)
	<-ended
}

func TestPairSets(t *testing.T) {
	names := ""
	for _, p := range PairSets() {
		names += " " + p.Name
		if LookupPairs(p.Name) != p {
			t.Errorf("%s is not found by its name", p.Name)
		}
	}
	t.Logf("this machine multiplies bf16 by:%s", names)
	if LookupPairs("emulated-amx") == nil || LookupPairs("tiles") != nil {
		t.Error("emulations must be found by name, and nothing else")
	}
	if best := LookupPairs(""); best != nil && !strings.HasSuffix(names, best.Name) {
		t.Errorf("%s is taken of%s", best.Name, names)
	}
}

// BenchmarkPairs runs a panel of 512 k, its rows of A a line further apart than
// they are long.
func BenchmarkPairs(b *testing.B) {
	for _, p := range PairSets() {
		for _, m := range []int{224, 64, 16} {
			b.Run(fmt.Sprintf("%s/%d", p.Name, m), func(b *testing.B) {
				const k, row = 256, 256 + 16
				x, w, c := aligned(m*row), aligned(k*Panel), aligned(m*(320+16))
				tile := &Tile{C: &c[0], CStride: 320 + 16, M: m, N: Panel, Accumulate: true,
					Segments: []Segment{{A: &x[0], ARow: row, ACol: 1, B: unsafe.Pointer(&w[0]), BRow: Panel, K: k}}}
				best := math.Inf(1)
				for b.Loop() {
					begin := time.Now()
					for range 50 {
						p.MatMul(tile)
					}
					best = min(best, time.Since(begin).Seconds()/50)
				}
				peak := 0.0
				for range 20 {
					begin := time.Now()
					f := p.Peak(2000)
					peak = max(peak, float64(f)/time.Since(begin).Seconds())
				}
				rate := float64(4*m*Panel*k) / best
				b.ReportMetric(rate/1e9, "GFLOP/s")
				b.ReportMetric(rate/peak*100, "%ofpeak")
			})
		}
	}
}

// aligned returns n numbers that begin a line of the cache.
func aligned(n int) []float32 {
	x := make([]float32, n+16)
	from := -int(uintptr(unsafe.Pointer(&x[0]))/4) & 15
	return x[from:][:n]
}
