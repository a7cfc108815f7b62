package generate

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// knownPicture is an input picture after the autoencoder, and its mask at the
// latents' resolution.
type knownPicture struct {
	moments *tensor.Tensor // [1,h,w,2c]
	masked  *tensor.Tensor // moments of the picture with the masked part grey; networks made to inpaint
	mask    []float32      // [h·w], 1 is drawn anew; nil without a mask
}

func (k *knownPicture) release() {
	k.moments.Release()
	k.masked.Release()
}

// encodeInput runs the autoencoder over the input picture.
func (d *drawing) encodeInput(p *autodiff.Pass) (*knownPicture, error) {
	in, w, h := d.r.Image, d.r.Width, d.r.Height
	if in.Width != w || in.Height != h {
		return nil, fmt.Errorf("the input picture is %dx%d and the drawing %dx%d; resize the picture first", in.Width, in.Height, w, h)
	}
	pixels := values(in)
	k := new(knownPicture)
	var err error
	if k.moments, err = d.moments(p, pixels); err != nil {
		return nil, err
	}
	m := d.r.Mask
	if m == nil {
		return k, nil
	}
	if m.Width != w || m.Height != h {
		k.release()
		return nil, fmt.Errorf("the mask is %dx%d and the drawing %dx%d; resize the mask first", m.Width, m.Height, w, h)
	}
	factor := d.m.VAEConfig().Factor()
	first := 0
	if d.r.Original {
		first = factor / 2
	}
	for y := first; y < h; y += factor {
		for x := first; x < w; x += factor {
			var v float32
			if m.Values[y*w+x] >= 128 {
				v = 1
			}
			k.mask = append(k.mask, v)
		}
	}
	if d.m.Inpaints() {
		for i, u := range m.Values {
			if u >= 128 {
				pixels[3*i], pixels[3*i+1], pixels[3*i+2] = 0, 0, 0
			}
		}
		k.masked, err = d.moments(p, pixels)
	}
	return k, err
}

func (d *drawing) moments(p *autodiff.Pass, values []float32) (*tensor.Tensor, error) {
	encoder, err := d.m.Encoder()
	if err != nil {
		return nil, err
	}
	pixels := autodiff.Constant(p.Pool.FromFloat32(values, 1, d.r.Height, d.r.Width, 3))
	defer pixels.Release()
	moments, err := encoder.Encode(p, pixels)
	if err != nil {
		return nil, err
	}
	return moments.T, nil
}

// start makes the first latents in x, and what the denoiser needs of the
// picture while it runs. The order of draws is that of diffusers' pipelines.
func (k *knownPicture) start(p *autodiff.Pass, d *drawing, run *denoiser, x *tensor.Tensor, draw func(*tensor.Tensor, Purpose, int)) (free func()) {
	pool := p.Pool
	noise := pool.New(device.F32, x.Shape...)
	held := []*tensor.Tensor{noise}
	free = func() {
		for _, t := range held {
			t.Release()
		}
	}
	sample := func(moments *tensor.Tensor, purpose Purpose) *tensor.Tensor {
		n := pool.New(device.F32, x.Shape...)
		defer n.Release()
		draw(n, purpose, 0)
		return d.m.Sample(p, moments, n)
	}
	fromNoise := d.plan.Start.Clean == 0 && d.plan.Start.Noise == 0 || d.plan.Skipped == 0 && d.m.Inpaints()
	if fromNoise {
		draw(noise, Start, 0)
		mix(p, x, d.plan.InitSigma, noise)
	} else {
		clean := sample(k.moments, Posterior)
		held = append(held, clean)
		draw(noise, Start, 0)
		mix2(p, x, d.plan.Start.Clean, clean, d.plan.Start.Noise, noise)
		if k.mask != nil && !d.m.Inpaints() {
			run.blend = k.blend(pool, x, clean, noise)
			held = append(held, run.blend.keep, run.blend.paint)
		}
	}
	if d.m.Inpaints() {
		latents := sample(k.masked, Masked)
		defer latents.Release()
		mask := pool.FromFloat32(k.mask, len(k.mask), 1)
		defer mask.Release()
		c := latents.Dim(3)
		run.extra = pool.New(device.F32, 1, x.Dim(1), x.Dim(2), 1+c)
		held = append(held, run.extra)
		p.Device().CopyRows(run.extra.Matrix().Columns(0, 1), mask.Matrix(), 0)
		p.Device().CopyRows(run.extra.Matrix().Columns(1, c), latents.Matrix(), 0)
	}
	return free
}

// blend spreads the mask over the latents' channels.
func (k *knownPicture) blend(pool *tensor.Pool, like, clean, noise *tensor.Tensor) *blend {
	c := like.Dim(3)
	keep, paint := make([]float32, like.Len()), make([]float32, like.Len())
	for i := range keep {
		paint[i] = k.mask[i/c]
		keep[i] = 1 - paint[i]
	}
	return &blend{original: clean, noise: noise, keep: pool.FromFloat32(keep, like.Shape...), paint: pool.FromFloat32(paint, like.Shape...)}
}
