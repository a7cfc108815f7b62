package autodiff_test

import (
	"context"
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestAttentionToOneToken: queries and keys of a single token have no gradient
// at all, not even rounding's, which AdamW would scale up to whole steps.
func TestAttentionToOneToken(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		const batch, heads, width = 3, 2, 32
		parameter := func(phase float64) *autodiff.Value {
			values := make([]float32, batch*width)
			for i := range values {
				values[i] = float32(math.Sin(phase + 1.7*float64(i)))
			}
			return autodiff.Parameter(pool.FromFloat32(values, batch, 1, width), pool.Zeros(batch, 1, width))
		}
		q, k, v := parameter(0), parameter(1), parameter(2)
		defer func() {
			for _, x := range []*autodiff.Value{q, k, v} {
				x.Grad().Release()
				x.Release()
			}
		}()
		err := autodiff.Record(context.Background(), pool, autodiff.Options{}, func(p *autodiff.Pass) error {
			y := p.Attention(q, k, v, heads, 0.25, false)
			defer y.Release()
			target := pool.Zeros(batch, 1, width)
			defer target.Release()
			weight := pool.FromFloat32([]float32{1, 1, 1}, batch)
			defer weight.Release()
			loss := p.Loss(y, target, nil, weight)
			defer loss.Release()
			p.Backward()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		largest := func(v *autodiff.Value) (top float64) {
			for _, x := range v.Grad().Float32() {
				top = math.Max(top, math.Abs(float64(x)))
			}
			return top
		}
		if largest(q) != 0 || largest(k) != 0 || largest(v) == 0 {
			t.Errorf("the largest gradients are %v of q, %v of k and %v of v", largest(q), largest(k), largest(v))
		}
	})
}
