package train

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// randomMask draws which part of a picture an inpainting base has to fill in,
// [H,W], 1 where it has to. The rule is the original's, in parts of the picture's
// size instead of pixels at 512: the union of 8 to 32 rectangles, each side
// between 1/32 and 1/4 of the picture's, anywhere inside it; one time in four
// everything.
func randomMask(d *draws, w, h int) []uint8 {
	mask := make([]uint8, w*h)
	between := func(lo, hi int) int { return lo + d.IntN(hi-lo+1) }
	for range between(8, 32) {
		rh, rw := between(max(1, h/32), max(1, h/4)), between(max(1, w/32), max(1, w/4))
		y0, x0 := d.IntN(h-rh+1), d.IntN(w-rw+1)
		for y := y0; y < y0+rh; y++ {
			for x := x0; x < x0+rw; x++ {
				mask[y*w+x] = 1
			}
		}
	}
	if d.Float64() < 0.25 {
		for i := range mask {
			mask[i] = 1
		}
	}
	return mask
}

// inpaint gives the batch its mask and the latents of the pictures without what
// is masked (grey there, as 0 is in [-1,1]).
func (f *feed) inpaint(pass *autodiff.Pass, b *Batch, p Phase, step int, pictures []*imageops.Picture) error {
	n, h, w, l := b.Latents.Dim(0), b.Latents.Dim(1), b.Latents.Dim(2), b.Latents.Dim(3)
	factor := f.model.VAEConfig().Factor()
	var values, small []float32
	for j, pic := range pictures {
		mask := randomMask(f.src.at(p, streamMask, step, j), pic.Width, pic.Height)
		for i, v := range pic.Floats() {
			if mask[i/3] == 1 {
				v = 0
			}
			values = append(values, v)
		}
		for y := range h {
			for x := range w {
				small = append(small, float32(mask[y*factor*pic.Width+x*factor]))
			}
		}
	}
	x := autodiff.Constant(f.model.Pool.FromFloat32(values, n, pictures[0].Height, pictures[0].Width, 3))
	defer x.Release()
	moments, err := f.encoder.Encode(pass, x)
	if err != nil {
		return err
	}
	defer moments.Release()
	posterior := f.normals(p, streamMaskedPosterior, step, n, h, w, l)
	defer posterior.Release()
	latents := f.model.Sample(pass, moments.T, posterior)
	defer latents.Release()
	mask := f.model.Pool.FromFloat32(small, n*h*w, 1)
	defer mask.Release()
	b.Inpaint = f.model.Pool.New(device.F32, n, h, w, 1+l)
	m := b.Inpaint.Matrix()
	pass.Device().CopyRows(m.Columns(0, 1), mask.Matrix(), 0)
	pass.Device().CopyRows(m.Columns(1, l), latents.Matrix(), 0)
	return nil
}
