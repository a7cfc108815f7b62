package generate

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// denoiser runs a plan over one picture's latents.
type denoiser struct {
	p        *autodiff.Pass
	seat     *Seat
	net      *unet.UNet
	plan     *sampler.Plan
	guidance float64
	context  *autodiff.Value // [2,T,D] negative and positive, or [1,T,D] without guidance
	kept     *unet.Kept      // of context
	pooled   *autodiff.Value // SDXL
	timeIDs  [][6]float64
	extra    *tensor.Tensor // [1,h,w,5] mask and masked latents, for networks made to inpaint
	blend    *blend         // inpainting with any other network
	draw     func(dst *tensor.Tensor, purpose Purpose, n int)
	after    func(eval int, x *tensor.Tensor) error

	coefs *tensor.Tensor // all coefficients of the plan
	next  int
}

// blend keeps what lies outside the mask.
type blend struct {
	original, noise *tensor.Tensor // [1,h,w,c]
	keep, paint     *tensor.Tensor // 1−mask and mask, [1,h,w,c]
}

// run denoises x [1,h,w,c] in place.
func (d *denoiser) run(x *tensor.Tensor) error {
	dev := d.p.Device()
	regs := make([]*tensor.Tensor, 3+d.plan.Histories)
	regs[sampler.X] = x
	for i := range regs {
		if regs[i] == nil {
			regs[i] = d.p.Pool.New(device.F32, x.Shape...)
			defer regs[i].Release()
		}
	}
	d.upload()
	defer d.coefs.Release()
	draws := 0
	for i, eval := range d.plan.Evals {
		if err := d.evaluate(regs[sampler.M], x, eval); err != nil {
			return err
		}
		for range eval.Draws {
			d.draw(regs[sampler.N], Ancestral, draws)
			draws++
		}
		for _, u := range eval.Updates {
			in := make([]device.Array, len(u.Terms))
			for j, t := range u.Terms {
				in[j] = regs[t.Reg].Data
			}
			d.combine(regs[u.Dst].Data, in...)
		}
		if d.blend != nil {
			known := d.p.Pool.New(device.F32, x.Shape...)
			d.combine(known.Data, d.blend.original.Data, d.blend.noise.Data)
			dev.Mul(known.Data, known.Data, d.blend.keep.Data)
			dev.Mul(x.Data, x.Data, d.blend.paint.Data)
			dev.Add(x.Data, x.Data, known.Data)
			known.Release()
		}
		if err := d.after(i, x); err != nil {
			return err
		}
	}
	return nil
}

// upload puts the plan's coefficients on the device in the order in which run
// reads them: nothing that changes from step to step is an argument of a call.
func (d *denoiser) upload() {
	var all []float32
	for _, e := range d.plan.Evals {
		all = append(all, float32(e.InputScale), float32(1-d.guidance), float32(d.guidance))
		for _, u := range e.Updates {
			for _, t := range u.Terms {
				all = append(all, float32(t.Coef))
			}
		}
		if d.blend != nil {
			all = append(all, float32(e.Renoise.Clean), float32(e.Renoise.Noise))
		}
	}
	d.coefs = d.p.Pool.FromFloat32(all, len(all))
	d.next = 0
}

// combine computes y = Σ cᵢxᵢ with the next coefficients.
func (d *denoiser) combine(y device.Array, x ...device.Array) {
	d.p.Device().Combine(y, d.coefs.Data.Slice(d.next, len(x)), x...)
	d.next += len(x)
}

// evaluate leaves the network's guided answer for x in m.
func (d *denoiser) evaluate(m, x *tensor.Tensor, e sampler.Eval) error {
	dev, pool := d.p.Device(), d.p.Pool
	n := d.context.T.Dim(0)
	h, w, c := x.Dim(1), x.Dim(2), x.Dim(3)
	in := pool.New(device.F32, n, h, w, d.net.Config.InChannels)
	scaled := x
	if e.InputScale != 1 {
		scaled = pool.New(device.F32, x.Shape...)
		d.combine(scaled.Data, x.Data)
		defer scaled.Release()
	} else {
		d.next++
	}
	cond := unet.Condition{Context: d.context, Kept: d.kept, Pooled: d.pooled, TimeIDs: d.timeIDs}
	for i := range n {
		rows := in.Matrix().RowRange(i*h*w, h*w)
		dev.CopyRows(rows.Columns(0, c), scaled.Matrix(), 0)
		if d.extra != nil {
			dev.CopyRows(rows.Columns(c, d.extra.Dim(3)), d.extra.Matrix(), 0)
		}
		cond.Timesteps = append(cond.Timesteps, e.Timestep)
	}
	sample := autodiff.Constant(in)
	out, err := d.seat.evaluate(d.p, evaluation{net: d.net, in: sample, cond: cond})
	sample.Release()
	if err != nil {
		return err
	}
	defer out.Release()
	if n == 1 {
		d.next += 2
		dev.Copy(m.Data, out.T.Data)
		return nil
	}
	size := m.Len()
	d.combine(m.Data, out.T.Data.Slice(0, size), out.T.Data.Slice(size, size))
	return nil
}

// finite refuses latents that are not numbers.
func finite(x *tensor.Tensor) error {
	for _, v := range x.Float32() {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("the picture became not a number: a concept's scale or the guidance is too high, or its file is broken")
		}
	}
	return nil
}
