package kernel

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkRows runs every row kernel over 1280 elements (and 8 rows of them,
// where it has rows) that stay in L1 or L2.
func BenchmarkRows(b *testing.B) {
	const n, rows = 1280, 8
	for _, s := range All() {
		for _, c := range rowCases() {
			b.Run(s.Name+"/"+c.name, func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				x := make([][]float32, c.args)
				count := n
				for i := range x {
					x[i] = normals(r, make([]float32, n))
					if i < c.grids {
						x[i] = normals(r, make([]float32, n*rows))
						count = n * rows
					}
				}
				var ns float64
				for b.Loop() {
					ns = float64(quickest(func() {
						for range 20 {
							c.run(s, x, n, n, rows)
						}
					}).Nanoseconds()) / 20
				}
				b.ReportMetric(float64(count)/ns, "Gelem/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
