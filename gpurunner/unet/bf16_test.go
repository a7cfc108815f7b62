package unet_test

import (
	"context"
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestBF16: products of bf16 stay within 2e-2 of the expected numbers, by the norm
// of the difference, in every case of the parity set.
func TestBF16(t *testing.T) {
	const limit = 2e-2
	enginetest.EachBF16(t, false, func(t *testing.T, name string) {
		for _, root := range paritytest.Roots(t) {
			for _, c := range root.Cases(t, "unet") { // no Done: what is expected has a bound of its own
				t.Run(root.Name+"/"+c.Name(), func(t *testing.T) {
					pool := tensor.NewPool(enginetest.BF16(t, name, 0))
					u, resources := load(t, pool, c.ModelDir(t))
					defer resources.Release()
					var got []float32
					err := autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) (err error) {
						got, err = evaluate(t, p, u, c, nil)
						return err
					})
					if err != nil {
						t.Fatal(err)
					}
					diff, size := 0.0, 0.0
					for i, w := range c.Tensor(t, "out.sample").NHWC().F32 {
						diff += math.Pow(float64(got[i])-float64(w), 2)
						size += math.Pow(float64(w), 2)
					}
					if e := math.Sqrt(diff / size); !(e <= limit) || e == 0 {
						t.Errorf("off by %.3g of the norm, at most %g (and not nothing)", e, limit)
					} else {
						t.Logf("off by %.3g of the norm", e)
					}
				})
			}
		}
	})
}
