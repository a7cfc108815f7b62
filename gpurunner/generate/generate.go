package generate

import (
	"context"
	"errors"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Draw draws the request's pictures and hands each to deliver as soon as it is
// ready. It stops at the first error, at deliver's, and when ctx ends.
func Draw(ctx context.Context, m *diffusion.Model, r Request, deliver func(image int, p *imageops.Picture) error) error {
	if err := r.fill(m); err != nil {
		return err
	}
	r.Seat.wears(r.Concepts)
	defer r.Seat.wears(nil)
	next := 0
	draw := func() error {
		return drawFrom(ctx, m, r, next, func(image int, p *imageops.Picture) error {
			next = image + 1
			return deliver(image, p)
		})
	}
	err := draw()
	if errors.Is(err, device.ErrOutOfMemory) && r.Seat.Alone() {
		err = draw()
	}
	var base *diffusion.TooLargeError
	if errors.Is(err, device.ErrOutOfMemory) && !errors.As(err, &base) {
		return fmt.Errorf("a picture of %d×%d does not fit into the device's memory: lower width and height (%w)", r.Width, r.Height, err)
	}
	return err
}

// drawFrom draws the request's pictures from number first on.
func drawFrom(ctx context.Context, m *diffusion.Model, r Request, first int, deliver func(image int, p *imageops.Picture) error) error {
	strength := 0.0
	if r.Image != nil && !(m.Inpaints() && r.Strength == 1) {
		strength = r.Strength
	}
	plan, err := sampler.New(r.Scheduler, m.Scheduler, r.Steps, sampler.Options{Strength: strength, Original: r.Original})
	if err != nil {
		return err
	}
	d := &drawing{m: m, r: r, plan: plan}
	if err := d.load(ctx); err != nil {
		return err
	}
	pool := m.Pool
	if r.Seat != nil {
		// What goes wrong here takes back what was allocated here, not what others did
		// meanwhile.
		pool = tensor.NewPool(m.Pool.Device)
		defer pool.ReleaseSince(0)
		defer r.Seat.bind(context.Background())
		defer r.Seat.forget()
	}
	return autodiff.Run(ctx, pool, func(p *autodiff.Pass) error {
		r.Seat.bind(ctx)
		if err := d.prepare(p); err != nil {
			return err
		}
		defer d.release()
		for i := first; i < r.Num; i++ {
			picture, err := d.picture(p, i)
			if err != nil {
				return fmt.Errorf("picture %d of %d: %w", i+1, r.Num, err)
			}
			if err := d.hand(i, picture, deliver); err != nil {
				return err
			}
		}
		return nil
	})
}

// drawing is what the pictures of a request share.
type drawing struct {
	m    *diffusion.Model
	r    Request
	plan *sampler.Plan

	encoded diffusion.Encoded
	timeIDs [][6]float64
	known   *knownPicture // with an input picture
	kept    unet.Kept     // the UNet's keys and values of the prompts
}

// hand delivers a picture while others draw.
func (d *drawing) hand(i int, picture *imageops.Picture, deliver func(image int, p *imageops.Picture) error) error {
	d.r.Seat.Pause()
	defer d.r.Seat.Resume()
	return deliver(i, picture)
}

// load fetches the networks that the request needs, so that a failure in the
// middle of a drawing leaves them be.
func (d *drawing) load(ctx context.Context) error {
	defer d.m.Bind(d.m.Bind(ctx))
	for i := range d.m.Text {
		if _, err := d.m.TextNetwork(i); err != nil {
			return err
		}
	}
	if d.r.Image != nil {
		if _, err := d.m.Encoder(); err != nil {
			return err
		}
	}
	if _, err := d.m.UNet(); err != nil {
		return err
	}
	_, err := d.m.Decoder()
	return err
}

// prepare encodes the prompts and the input picture.
func (d *drawing) prepare(p *autodiff.Pass) (err error) {
	guided := d.r.Guidance > 1
	prompts := []string{d.r.Prompt}
	if guided {
		prompts = []string{d.r.Negative, d.r.Prompt}
	}
	if d.encoded, err = d.m.Encode(p, d.m.Tokenize(prompts, d.r.Words), d.r.Words); err != nil {
		return err
	}
	if d.m.IsXL() {
		if guided && d.r.Negative == "" && !d.r.EncodeEmpty && d.m.ZeroNegative() {
			for _, v := range []*autodiff.Value{d.encoded.Context, d.encoded.Pooled} {
				p.Device().Fill(v.T.Data.Slice(0, v.T.Len()/2), 0)
			}
		}
		w, h := float64(d.r.Width), float64(d.r.Height)
		for range prompts {
			d.timeIDs = append(d.timeIDs, [6]float64{h, w, 0, 0, h, w})
		}
	}
	if d.r.Image != nil {
		if d.known, err = d.encodeInput(p); err != nil {
			return err
		}
	}
	if d.r.Last {
		d.m.ReleaseText()
		d.m.ReleaseEncoder()
	}
	return nil
}

func (d *drawing) release() {
	d.encoded.Release()
	d.kept.Release()
	if d.known != nil {
		d.known.release()
	}
}

// picture draws picture i.
func (d *drawing) picture(p *autodiff.Pass, i int) (*imageops.Picture, error) {
	net, err := d.m.UNet()
	if err != nil {
		return nil, err
	}
	factor := d.m.VAEConfig().Factor()
	h, w, c := d.r.Height/factor, d.r.Width/factor, d.m.VAEConfig().LatentChannels
	draw := func(dst *tensor.Tensor, purpose Purpose, n int) { d.r.Noise.Draw(dst, i, purpose, n) }
	run := &denoiser{
		p: p, seat: d.r.Seat, net: net, plan: d.plan, guidance: d.r.Guidance,
		context: d.encoded.Context, kept: &d.kept, pooled: d.encoded.Pooled, timeIDs: d.timeIDs, draw: draw,
	}
	run.after = func(eval int, x *tensor.Tensor) error {
		if d.r.Latents != nil {
			d.r.Latents(i, eval, x.Float32())
		}
		if d.r.Progress != nil {
			d.r.Progress(Step{Image: i, Images: d.r.Num, Step: eval + 1, Steps: len(d.plan.Evals)})
		}
		return nil
	}

	x := p.Pool.Zeros(1, h, w, c)
	defer x.Release()
	if d.known == nil {
		draw(x, Start, 0)
		mix(p, x, d.plan.InitSigma, x)
	} else {
		free := d.known.start(p, d, run, x, draw)
		defer free()
	}
	if err := run.run(x); err != nil {
		return nil, err
	}
	if err := finite(x); err != nil {
		return nil, err
	}
	if d.r.Last && i == d.r.Num-1 {
		d.kept.Release()
		d.m.ReleaseUNet()
	}
	return d.decode(p, x)
}

func (d *drawing) decode(p *autodiff.Pass, x *tensor.Tensor) (*imageops.Picture, error) {
	decoder, err := d.m.Decoder()
	if err != nil {
		return nil, err
	}
	z := autodiff.Constant(d.m.Unscale(p, x))
	image, err := decoder.Decode(p, z)
	z.Release()
	if err != nil {
		return nil, err
	}
	defer image.Release()
	if err := p.Device().Sync(); err != nil {
		return nil, err
	}
	return fromValues(image.T.Float32(), d.r.Width, d.r.Height), nil
}

// mix computes y = Σ cᵢxᵢ, the arguments alternating.
func mix(p *autodiff.Pass, y *tensor.Tensor, c0 float64, x0 *tensor.Tensor) {
	c := p.Pool.FromFloat32([]float32{float32(c0)}, 1)
	p.Device().Combine(y.Data, c.Data, x0.Data)
	c.Release()
}

// mix2 computes y = c0·x0 + c1·x1.
func mix2(p *autodiff.Pass, y *tensor.Tensor, c0 float64, x0 *tensor.Tensor, c1 float64, x1 *tensor.Tensor) {
	c := p.Pool.FromFloat32([]float32{float32(c0), float32(c1)}, 2)
	p.Device().Combine(y.Data, c.Data, x0.Data, x1.Data)
	c.Release()
}
