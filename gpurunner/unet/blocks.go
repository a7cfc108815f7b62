package unet

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// DownBlock halves the resolution after its layers; the last one does not.
type DownBlock struct {
	Resnets    []*Resnet
	Attentions []*Transformer // empty, or one a resnet
	Downsample *nn.Conv       // nil in the last block

	path string
}

// UpBlock doubles the resolution after its layers, each of which takes one of
// the down path's outputs beside its input; the last one does not.
type UpBlock struct {
	Resnets    []*Resnet
	Attentions []*Transformer
	Upsample   *nn.Conv

	path string
}

// MidBlock is resnet, transformer, resnet.
type MidBlock struct {
	Resnets   [2]*Resnet
	Attention *Transformer
}

// layer runs a resnet and the transformer behind it, if there is one, as one
// segment for checkpointing. It gives up the caller's hold on x.
func layer(p *autodiff.Pass, r *Resnet, t *Transformer, x, temb, context *autodiff.Value, kept *Kept) *autodiff.Value {
	defer x.Release()
	return p.Checkpoint(func(p *autodiff.Pass, in []*autodiff.Value) *autodiff.Value {
		h := r.Forward(p, in[0], in[1])
		if t == nil {
			return h
		}
		defer h.Release()
		return t.Forward(p, h, in[2], kept)
	}, x, temb, context)
}

func transformerAt(ts []*Transformer, i int) *Transformer {
	if len(ts) == 0 {
		return nil
	}
	return ts[i]
}

// forward gives up the caller's hold on x. Each layer's output goes onto
// skips, with a hold.
func (b *DownBlock) forward(p *autodiff.Pass, x, temb, context *autodiff.Value, kept *Kept, skips *[]*autodiff.Value) *autodiff.Value {
	for i, r := range b.Resnets {
		x = layer(p, r, transformerAt(b.Attentions, i), x, temb, context, kept)
		*skips = append(*skips, x.Retain())
	}
	if b.Downsample != nil {
		y := b.Downsample.Forward(p, x)
		x.Release()
		x = y
		nn.Observe(p, b.path+".downsamplers.0", x)
		*skips = append(*skips, x.Retain())
	}
	return x
}

func (b *MidBlock) forward(p *autodiff.Pass, x, temb, context *autodiff.Value, kept *Kept) *autodiff.Value {
	x = layer(p, b.Resnets[0], b.Attention, x, temb, context, kept)
	return layer(p, b.Resnets[1], nil, x, temb, context, kept)
}

// forward gives up the caller's hold on x, and takes its skips from the end of
// the list. Upsampling goes to the size of the next skip, which is not always
// twice: downsampling rounds odd sizes up.
func (b *UpBlock) forward(p *autodiff.Pass, x, temb, context *autodiff.Value, kept *Kept, skips *[]*autodiff.Value) *autodiff.Value {
	for i, r := range b.Resnets {
		last := len(*skips) - 1
		skip := (*skips)[last]
		*skips = (*skips)[:last]
		joined := p.Concat(x, skip)
		x.Release()
		skip.Release()
		x = layer(p, r, transformerAt(b.Attentions, i), joined, temb, context, kept)
	}
	if b.Upsample != nil {
		next := (*skips)[len(*skips)-1]
		y := b.Upsample.ForwardUpsampled(p, x, next.T.Dim(1), next.T.Dim(2))
		x.Release()
		x = y
		nn.Observe(p, b.path+".upsamplers.0", x)
	}
	return x
}
