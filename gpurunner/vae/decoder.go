package vae

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// Decoder turns latents into pictures.
type Decoder struct {
	Config Config

	postQuant, convIn, convOut *nn.Conv
	mid                        *midBlock
	up                         []upBlock
	normOut                    *nn.GroupNorm
}

type upBlock struct {
	resnets  []*resnet
	upsample *nn.Conv // nil in the last block
	path     string
}

// LoadDecoder makes the decoder that c describes; errors are the loader's.
func LoadDecoder(l *nn.Loader, c Config) *Decoder {
	m := l.In("decoder")
	last := len(c.Channels) - 1
	in := c.Channels[last]
	d := &Decoder{
		Config:    c,
		postQuant: l.Conv("post_quant_conv", c.LatentChannels, c.LatentChannels, 1, 1),
		convIn:    m.Conv("conv_in", c.LatentChannels, in, 3, 1),
		mid:       loadMid(m.In("mid_block"), in, c.Groups),
	}
	for i := range c.Channels {
		out := c.Channels[last-i]
		b := m.In("up_blocks.%d", i)
		block := upBlock{path: b.Path("")}
		for j := range c.LayersPerBlock + 1 {
			block.resnets = append(block.resnets, loadResnet(b.In("resnets.%d", j), in, out, c.Groups))
			in = out
		}
		if i < last {
			block.upsample = b.Conv("upsamplers.0.conv", out, out, 3, 1)
		}
		d.up = append(d.up, block)
	}
	d.normOut = m.GroupNorm("conv_norm_out", in, c.Groups, eps)
	d.convOut = m.Conv("conv_out", in, c.OutChannels, 3, 1)
	return d
}

// Decode maps latents [N,h,w,L], already divided by the scaling factor, to
// pictures [N,8h,8w,3], about in [-1,1].
func (d *Decoder) Decode(p *autodiff.Pass, latents *autodiff.Value) (*autodiff.Value, error) {
	if s := latents.Shape(); len(s) != 4 || s[3] != d.Config.LatentChannels {
		return nil, fmt.Errorf("vae: latents of shape %v, want [N,H,W,%d]", s, d.Config.LatentChannels)
	}
	z := d.postQuant.Forward(p, latents)
	x := d.convIn.Forward(p, z)
	z.Release()
	x = d.mid.forward(p, x)
	for _, b := range d.up {
		for _, r := range b.resnets {
			x = r.forward(p, x)
		}
		if b.upsample != nil {
			y := b.upsample.ForwardUpsampled(p, x, 2*x.T.Dim(1), 2*x.T.Dim(2))
			x.Release()
			x = y
			nn.Observe(p, b.path+".upsamplers.0", x)
		}
	}
	h := d.normOut.ForwardSiLU(p, x)
	x.Release()
	defer h.Release()
	return d.convOut.Forward(p, h), nil
}
