package unet

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// UNet is a denoiser on a device.
type UNet struct {
	Config Config
	Down   []*DownBlock
	Mid    *MidBlock
	Up     []*UpBlock

	convIn, convOut *nn.Conv
	normOut         *nn.GroupNorm
	time, add       *embedding // add is nil but for SDXL
}

// embedding is a two-layer perceptron over a sinusoid.
type embedding struct {
	linear1, linear2 *nn.Linear
	path             string
}

// Load makes the network that c describes; errors are the loader's.
func Load(l *nn.Loader, c Config) *UNet {
	u := &UNet{Config: c}
	ch := c.Channels
	temb := 4 * ch[0]
	u.convIn = l.Conv("conv_in", c.InChannels, ch[0], 3, 1)
	u.time = loadEmbedding(l.In("time_embedding"), ch[0], temb)
	if c.AddEmbedding != "" {
		u.add = loadEmbedding(l.In("add_embedding"), c.AddEmbeddingInput, temb)
	}
	resnet := func(l *nn.Loader, in, out int) *Resnet {
		return loadResnet(l, in, out, temb, c.Groups, c.NormEps)
	}
	in := ch[0]
	for i, out := range ch {
		b := l.In("down_blocks.%d", i)
		block := &DownBlock{path: b.Path("")}
		for j := range c.LayersPerBlock {
			if c.DownBlocks[i] == crossDown {
				block.Attentions = append(block.Attentions, loadTransformer(b.In("attentions.%d", j), out, c.Heads.at(i), c.TransformerDepth.at(i), c.CrossAttention, c.Groups))
			}
			block.Resnets = append(block.Resnets, resnet(b.In("resnets.%d", j), in, out))
			in = out
		}
		if i < len(ch)-1 {
			block.Downsample = b.Conv("downsamplers.0.conv", out, out, 3, 2)
		}
		u.Down = append(u.Down, block)
	}

	last := len(ch) - 1
	m := l.In("mid_block")
	u.Mid = &MidBlock{
		Resnets:   [2]*Resnet{resnet(m.In("resnets.0"), ch[last], ch[last]), resnet(m.In("resnets.1"), ch[last], ch[last])},
		Attention: loadTransformer(m.In("attentions.0"), ch[last], c.Heads.at(last), c.TransformerDepth.at(last), c.CrossAttention, c.Groups),
	}

	prev := ch[last]
	for i := range ch {
		level := last - i
		out := ch[level]
		// The skips of this level: its resnets' outputs, and before them the
		// level's input.
		first := ch[max(level-1, 0)]
		b := l.In("up_blocks.%d", i)
		block := &UpBlock{path: b.Path("")}
		for j := range c.LayersPerBlock + 1 {
			skip, from := out, out
			if j == c.LayersPerBlock {
				skip = first
			}
			if j == 0 {
				from = prev
			}
			if c.UpBlocks[i] == crossUp {
				block.Attentions = append(block.Attentions, loadTransformer(b.In("attentions.%d", j), out, c.Heads.at(level), c.TransformerDepth.at(level), c.CrossAttention, c.Groups))
			}
			block.Resnets = append(block.Resnets, resnet(b.In("resnets.%d", j), from+skip, out))
		}
		prev = out
		if i < last {
			block.Upsample = b.Conv("upsamplers.0.conv", out, out, 3, 1)
		}
		u.Up = append(u.Up, block)
	}
	u.normOut = l.GroupNorm("conv_norm_out", ch[0], c.Groups, c.NormEps)
	u.convOut = l.Conv("conv_out", ch[0], c.OutChannels, 3, 1)
	return u
}

func loadEmbedding(l *nn.Loader, in, out int) *embedding {
	return &embedding{l.Linear("linear_1", in, out, true), l.Linear("linear_2", out, out, true), l.Path("")}
}

func (e *embedding) forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	h := e.linear1.Forward(p, x)
	a := p.Activate(device.SiLU, h)
	h.Release()
	defer a.Release()
	y := e.linear2.Forward(p, a)
	nn.Observe(p, e.path, y)
	return y
}

// Condition is what the network is conditioned on beside the sample.
type Condition struct {
	Timesteps []float64       // one a sample, 0..999
	Context   *autodiff.Value // [N,T,D], the encoded prompts
	Kept      *Kept           // what evaluations with the same Context share; nil for nothing
	// SDXL only: the pooled prompt [N,P], and six numbers a sample: original
	// height and width, top and left of the crop, target height and width.
	Pooled  *autodiff.Value
	TimeIDs [][6]float64
}

// Forward predicts noise or velocity from sample [N,H,W,InChannels]; the
// result is [N,H,W,OutChannels]. It fails where c does not fit the network or
// the sample.
func (u *UNet) Forward(p *autodiff.Pass, sample *autodiff.Value, c Condition) (*autodiff.Value, error) {
	if err := u.checkInputs(sample.T, c); err != nil {
		return nil, err
	}
	temb := u.embedTime(p, c)
	defer temb.Release()

	x := u.convIn.Forward(p, sample)
	skips := []*autodiff.Value{x.Retain()}
	for _, b := range u.Down {
		x = b.forward(p, x, temb, c.Context, c.Kept, &skips)
	}
	x = u.Mid.forward(p, x, temb, c.Context, c.Kept)
	for _, b := range u.Up {
		x = b.forward(p, x, temb, c.Context, c.Kept, &skips)
	}
	h := u.normOut.ForwardSiLU(p, x)
	x.Release()
	defer h.Release()
	return u.convOut.Forward(p, h), nil
}

// embedTime returns SiLU of the time embedding, [N,4·C0]: every resnet begins
// with it.
func (u *UNet) embedTime(p *autodiff.Pass, c Condition) *autodiff.Value {
	ch := u.Config.Channels[0]
	t := autodiff.Constant(p.Pool.FromFloat32(sinusoid(c.Timesteps, ch, u.Config.FlipSinCos, u.Config.FreqShift), len(c.Timesteps), ch))
	nn.Observe(p, "time_proj", t)
	emb := u.time.forward(p, t)
	t.Release()
	if u.add != nil {
		a := u.embedAdded(p, c)
		sum := p.Add(emb, a)
		emb.Release()
		a.Release()
		emb = sum
	}
	defer emb.Release()
	return p.Activate(device.SiLU, emb)
}

// embedAdded is SDXL's second embedding, of pooled prompt and sizes.
func (u *UNet) embedAdded(p *autodiff.Pass, c Condition) *autodiff.Value {
	n, dim := len(c.TimeIDs), u.Config.AddTimeDim
	var ids []float64
	for _, six := range c.TimeIDs {
		ids = append(ids, six[:]...)
	}
	t := autodiff.Constant(p.Pool.FromFloat32(sinusoid(ids, dim, u.Config.FlipSinCos, u.Config.FreqShift), n, 6*dim))
	nn.Observe(p, "add_time_proj", t)
	joined := p.Concat(c.Pooled, t)
	t.Release()
	defer joined.Release()
	return u.add.forward(p, joined)
}

func (u *UNet) checkInputs(sample *tensor.Tensor, c Condition) error {
	n := sample.Dim(0)
	switch {
	case len(sample.Shape) != 4 || sample.Dim(3) != u.Config.InChannels:
		return fmt.Errorf("unet: sample of shape %v, want [N,H,W,%d]", sample.Shape, u.Config.InChannels)
	case len(c.Timesteps) != n:
		return fmt.Errorf("unet: %d timesteps for %d samples", len(c.Timesteps), n)
	case len(c.Context.Shape()) != 3 || c.Context.T.Dim(0) != n || c.Context.T.Dim(2) != u.Config.CrossAttention:
		return fmt.Errorf("unet: prompts of shape %v, want [%d,T,%d]", c.Context.Shape(), n, u.Config.CrossAttention)
	case u.add == nil:
		return nil
	case c.Pooled == nil || len(c.TimeIDs) != n:
		return fmt.Errorf("unet: this network needs a pooled prompt and six time ids a sample")
	case c.Pooled.T.Len() != n*(u.Config.AddEmbeddingInput-6*u.Config.AddTimeDim):
		return fmt.Errorf("unet: pooled prompt of shape %v, want [%d,%d]", c.Pooled.Shape(), n, u.Config.AddEmbeddingInput-6*u.Config.AddTimeDim)
	}
	return nil
}
