package train

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// AdamW's constants in the original.
const (
	beta1   = 0.9
	beta2   = 0.999
	epsilon = 1e-8
)

// group is a run of parameters with a learning rate of their own.
type group struct {
	off, n int // elements of the slab
	rate   Rate
	decay  float64
}

// optimizer is AdamW (Loshchilov and Hutter 2019) over a slab.
type optimizer struct {
	slab   *nn.Slab
	m, v   *tensor.Tensor
	groups []group
	t      int // updates so far
}

func newOptimizer(slab *nn.Slab, groups []group) *optimizer {
	pool, n := slab.Value.Pool(), slab.Value.Len()
	return &optimizer{slab: slab, m: pool.Zeros(n), v: pool.Zeros(n), groups: groups}
}

func (o *optimizer) release() {
	o.m.Release()
	o.v.Release()
}

// gradNorm is the norm of all gradients and of extra, the square of a norm that
// is to count as well.
func (o *optimizer) gradNorm(extra float64) float64 {
	pool := o.slab.Grad.Pool()
	sum := pool.FromFloat32([]float32{float32(extra)}, 1)
	defer sum.Release()
	pool.Device.SumSquares(sum.Data, o.slab.Grad.Data, 1)
	return math.Sqrt(float64(sum.Float32()[0]))
}

// clipFactor scales gradients of a norm to at most limit.
func clipFactor(norm, limit float64) float64 { return math.Min(1, limit/(norm+1e-6)) }

// update steps all parameters at the groups' rates, gradients times clip, and
// brings packed copies up to date.
func (o *optimizer) update(step int, clip float64) {
	pool := o.slab.Value.Pool()
	o.t++
	var segments []device.AdamWSegment
	for _, g := range o.groups {
		if g.n == 0 {
			continue
		}
		hyper := pool.FromFloat32([]float32{float32(g.rate.At(step)), beta1, beta2, epsilon, float32(g.decay),
			float32(1 - math.Pow(beta1, float64(o.t))), float32(1 - math.Pow(beta2, float64(o.t)))}, 7)
		defer hyper.Release()
		segments = append(segments, device.AdamWSegment{Off: g.off, Len: g.n, Hyper: hyper.Data})
	}
	factor := pool.FromFloat32([]float32{float32(clip)}, 1)
	defer factor.Release()
	pool.Device.AdamW(device.Slab{Value: o.slab.Value.Data, Grad: o.slab.Grad.Data, M: o.m.Data, V: o.v.Data}, segments, factor.Data)
	o.slab.Repack()
}

// rates are the groups' learning rates at a step.
func (o *optimizer) rates(step int) []float64 {
	var out []float64
	for _, g := range o.groups {
		out = append(out, g.rate.At(step))
	}
	return out
}
