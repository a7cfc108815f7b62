package kernel

import (
	"fmt"
	"math"
	"testing"
	"time"
	"unsafe"
)

// quickest is the shortest time of one call of f among as many as fit 50 ms:
// the machine is shared, averages measure the neighbours.
func quickest(f func()) time.Duration {
	best := time.Duration(math.MaxInt64)
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		t := time.Now()
		f()
		best = min(best, time.Since(t))
	}
	return best
}

// peakRate is the set's floating-point operations a second on registers.
func peakRate(s *Set) float64 {
	flops := s.Peak(10000)
	return float64(flops) / quickest(func() { s.Peak(10000) }).Seconds()
}

func BenchmarkPeak(b *testing.B) {
	for _, s := range All() {
		b.Run(s.Name, func(b *testing.B) {
			rate := 0.0
			for b.Loop() {
				rate = max(rate, peakRate(s))
			}
			b.ReportMetric(rate/1e9, "GFLOP/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkMatMul runs tiles over a block of B that fills half of L2, as a
// linear layer does: A rows stay in L1, panels come from L2.
func BenchmarkMatMul(b *testing.B) {
	for _, s := range All() {
		peak := peakRate(s)
		for _, c := range []struct {
			m, n, k, panels int
			typ             BType
		}{
			{s.Rows, 32, 512, 8, F32},
			{s.Rows, 32, 320, 10, F32},
			{s.Rows, 32, 64, 10, F32},
			{s.Rows, 32, 512, 8, F16},
			{s.Rows, 32, 512, 8, BF16},
			{s.Rows - 1, 32, 512, 8, F32},
			{min(8, s.Rows), 32, 512, 8, F32},
			{min(4, s.Rows), 32, 512, 8, F32},
			{1, 32, 512, 8, F32},
			{s.Rows, 16, 512, 8, F32},
			{s.Rows, 8, 512, 8, F32},
			{s.Rows, 32, 40, 8, F32}, // scores of 40-wide heads
			{56, 32, 40, 8, F32},
		} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d/type=%d", s.Name, c.m, c.n, c.k, c.typ), func(b *testing.B) {
				a := make([]float32, c.m*c.k)
				panels := make([]float32, c.panels*c.k*Panel)
				out := make([]float32, c.m*Panel*c.panels)
				t := Tile{CStride: Panel * c.panels, M: c.m, N: c.n, Segments: []Segment{{A: &a[0], ARow: c.k, ACol: 1, BRow: Panel, K: c.k, Type: c.typ}}}
				const repeat = 8
				var d time.Duration
				for b.Loop() {
					d = quickest(func() {
						for i := range repeat * c.panels {
							p := i % c.panels
							t.C = &out[p*Panel]
							t.Segments[0].B = unsafe.Pointer(&panels[p*c.k*Panel])
							s.MatMul(&t)
						}
					})
				}
				rate := float64(repeat*c.panels) * float64(2*c.m*c.n*c.k) / d.Seconds()
				b.ReportMetric(rate/1e9, "GFLOP/s")
				b.ReportMetric(100*rate/peak, "%peak")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
