package vae

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// Encoder turns pictures into distributions of latents.
type Encoder struct {
	Config Config

	convIn, convOut, quant *nn.Conv
	down                   []downBlock
	mid                    *midBlock
	normOut                *nn.GroupNorm
}

type downBlock struct {
	resnets    []*resnet
	downsample *nn.Conv // nil in the last block
	path       string
}

// LoadEncoder makes the encoder that c describes; errors are the loader's.
func LoadEncoder(l *nn.Loader, c Config) *Encoder {
	m := l.In("encoder")
	e := &Encoder{Config: c, convIn: m.Conv("conv_in", c.InChannels, c.Channels[0], 3, 1)}
	in := c.Channels[0]
	for i, out := range c.Channels {
		b := m.In("down_blocks.%d", i)
		block := downBlock{path: b.Path("")}
		for j := range c.LayersPerBlock {
			block.resnets = append(block.resnets, loadResnet(b.In("resnets.%d", j), in, out, c.Groups))
			in = out
		}
		if i < len(c.Channels)-1 {
			// Padded on the right and at the bottom only.
			block.downsample = b.ConvPadded("downsamplers.0.conv", out, out, 3, device.ConvGeom{Stride: 2, Right: 1, Bottom: 1})
		}
		e.down = append(e.down, block)
	}
	e.mid = loadMid(m.In("mid_block"), in, c.Groups)
	e.normOut = m.GroupNorm("conv_norm_out", in, c.Groups, eps)
	e.convOut = m.Conv("conv_out", in, 2*c.LatentChannels, 3, 1)
	e.quant = l.Conv("quant_conv", 2*c.LatentChannels, 2*c.LatentChannels, 1, 1)
	return e
}

// Encode maps pictures [N,H,W,3] in [-1,1] to moments [N,H/8,W/8,2·L]: the
// means of the latents, then the logarithms of their variances (not yet
// clamped to [-30,20], not yet scaled). H and W must be multiples of
// Config.Factor.
func (e *Encoder) Encode(p *autodiff.Pass, pictures *autodiff.Value) (*autodiff.Value, error) {
	s, f := pictures.Shape(), e.Config.Factor()
	if len(s) != 4 || s[3] != e.Config.InChannels || s[1]%f != 0 || s[2]%f != 0 || s[1] == 0 || s[2] == 0 {
		return nil, fmt.Errorf("vae: pictures of shape %v, want [N,H,W,%d] with sides that are multiples of %d", s, e.Config.InChannels, f)
	}
	x := e.convIn.Forward(p, pictures)
	for _, b := range e.down {
		for _, r := range b.resnets {
			x = r.forward(p, x)
		}
		if b.downsample != nil {
			y := b.downsample.Forward(p, x)
			x.Release()
			x = y
			nn.Observe(p, b.path+".downsamplers.0", x)
		}
	}
	x = e.mid.forward(p, x)
	h := e.normOut.ForwardSiLU(p, x)
	x.Release()
	x = e.convOut.Forward(p, h)
	h.Release()
	defer x.Release()
	return e.quant.Forward(p, x), nil
}
