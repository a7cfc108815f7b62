package diffusion

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Sample draws latents from the distributions of pictures: moments [N,h,w,2L]
// as vae.Encoder gives them, noise [N,h,w,L] standard normal. The result
// [N,h,w,L] is scaled as the denoiser wants it; it is the caller's.
func (m *Model) Sample(p *autodiff.Pass, moments, noise *tensor.Tensor) *tensor.Tensor {
	// A few thousand numbers, once a picture: done on the host.
	l := noise.Dim(-1)
	mv, nv := moments.Float32(), noise.Float32()
	out := make([]float32, len(nv))
	for i := range nv {
		row, c := i/l, i%l
		mean, logvar := mv[row*2*l+c], mv[row*2*l+l+c]
		logvar = min(max(logvar, -30), 20)
		std := float32(math.Exp(float64(float32(0.5) * logvar)))
		z := mean + float32(std*nv[i])
		out[i] = float32(z * float32(m.vaeConfig.ScalingFactor))
	}
	return p.Pool.FromFloat32(out, noise.Shape...)
}

// Unscale returns latents as the decoder wants them, divided by the scaling
// factor.
func (m *Model) Unscale(p *autodiff.Pass, latents *tensor.Tensor) *tensor.Tensor {
	out := p.Pool.New(device.F32, latents.Shape...)
	c := p.Pool.FromFloat32([]float32{float32(1 / m.vaeConfig.ScalingFactor)}, 1)
	defer c.Release()
	p.Device().Combine(out.Data, c.Data, latents.Data)
	return out
}
