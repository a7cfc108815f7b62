package unet

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// Transformer lets the pixels of a feature map attend to each other and to the
// prompt.
type Transformer struct {
	Norm            *nn.GroupNorm
	ProjIn, ProjOut *nn.Linear
	Blocks          []*TransformerBlock

	path string
}

// TransformerBlock is self-attention, cross-attention and a feed-forward part,
// each with its norm and residual.
type TransformerBlock struct {
	Norm1, Norm2, Norm3 *nn.LayerNorm
	Attn1, Attn2        *Attention
	FF0                 *nn.Linear // ff.net.0.proj, to hidden ‖ gate
	FF2                 *nn.Linear // ff.net.2

	path string
}

// Attention is multi-head attention with its projections.
type Attention struct {
	Q, K, V, Out *nn.Linear

	path  string
	heads int
}

func loadTransformer(l *nn.Loader, channels, heads, depth, cross, groups int) *Transformer {
	t := &Transformer{
		// This norm's eps is 1e-6 whatever norm_eps says.
		Norm:   l.GroupNorm("norm", channels, groups, 1e-6),
		ProjIn: l.Linear("proj_in", channels, channels, true),
		path:   l.Path(""),
	}
	for i := range depth {
		b := l.In("transformer_blocks.%d", i)
		t.Blocks = append(t.Blocks, &TransformerBlock{
			Norm1: b.LayerNorm("norm1", channels, 1e-5),
			Attn1: loadAttention(b.In("attn1"), channels, channels, heads),
			Norm2: b.LayerNorm("norm2", channels, 1e-5),
			Attn2: loadAttention(b.In("attn2"), channels, cross, heads),
			Norm3: b.LayerNorm("norm3", channels, 1e-5),
			FF0:   b.Linear("ff.net.0.proj", channels, 8*channels, true),
			FF2:   b.Linear("ff.net.2", 4*channels, channels, true),
			path:  b.Path(""),
		})
	}
	t.ProjOut = l.Linear("proj_out", channels, channels, true)
	return t
}

func loadAttention(l *nn.Loader, channels, context, heads int) *Attention {
	return &Attention{
		Q:    l.Linear("to_q", channels, channels, false),
		K:    l.Linear("to_k", context, channels, false),
		V:    l.Linear("to_v", context, channels, false),
		Out:  l.Linear("to_out.0", channels, channels, true),
		path: l.Path(""), heads: heads,
	}
}

// Forward maps x [N,H,W,C] to the same shape; context is [N,T,D].
func (t *Transformer) Forward(p *autodiff.Pass, x, context *autodiff.Value, kept *Kept) *autodiff.Value {
	n, h, w, c := x.T.Dim(0), x.T.Dim(1), x.T.Dim(2), x.T.Dim(3)
	normed := t.Norm.Forward(p, x)
	tokens := p.Reshape(normed, n, h*w, c)
	normed.Release()
	y := t.ProjIn.Forward(p, tokens)
	tokens.Release()
	for _, b := range t.Blocks {
		z := b.Forward(p, y, context, kept)
		y.Release()
		y = z
	}
	defer y.Release()
	residual := p.Reshape(x, n, h*w, c)
	defer residual.Release()
	out := t.ProjOut.ForwardAdd(p, y, residual, "")
	defer out.Release()
	picture := p.Reshape(out, n, h, w, c)
	nn.Observe(p, t.path, picture)
	return picture
}

// Forward maps x [N,T,C] to the same shape.
func (b *TransformerBlock) Forward(p *autodiff.Pass, x, context *autodiff.Value, kept *Kept) *autodiff.Value {
	h := b.Norm1.Forward(p, x)
	x1 := b.Attn1.Forward(p, h, h, x, nil)
	h.Release()
	defer x1.Release()
	h = b.Norm2.Forward(p, x1)
	x2 := b.Attn2.Forward(p, h, context, x1, kept)
	h.Release()
	defer x2.Release()
	h = b.Norm3.Forward(p, x2)
	f := b.FF0.Forward(p, h)
	h.Release()
	g := p.GEGLU(f)
	f.Release()
	defer g.Release()
	return b.FF2.ForwardAdd(p, g, x2, b.path+".ff")
}

// Forward attends from x [N,T,C] to context [N,S,D] and adds residual.
func (a *Attention) Forward(p *autodiff.Pass, x, context, residual *autodiff.Value, kept *Kept) *autodiff.Value {
	q := a.Q.Forward(p, x)
	k, v := a.keysValues(p, context, kept)
	scale := float32(1 / math.Sqrt(float64(a.Q.Out/a.heads)))
	o := p.Attention(q, k, v, a.heads, scale, false)
	q.Release()
	k.Release()
	v.Release()
	defer o.Release()
	return a.Out.ForwardAdd(p, o, residual, a.path)
}
