package vae

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// eps of every norm in the autoencoder.
const eps = 1e-6

// resnet is a residual block without a time embedding.
type resnet struct {
	norm1, norm2 *nn.GroupNorm
	conv1, conv2 *nn.Conv
	shortcut     *nn.Conv
	path         string
}

func loadResnet(l *nn.Loader, in, out, groups int) *resnet {
	r := &resnet{
		norm1: l.GroupNorm("norm1", in, groups, eps), conv1: l.Conv("conv1", in, out, 3, 1),
		norm2: l.GroupNorm("norm2", out, groups, eps), conv2: l.Conv("conv2", out, out, 3, 1),
		path: l.Path(""),
	}
	if in != out {
		r.shortcut = l.Conv("conv_shortcut", in, out, 1, 1)
	}
	return r
}

// forward gives up the caller's hold on x.
func (r *resnet) forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	h := r.norm1.ForwardSiLU(p, x)
	h1 := r.conv1.Forward(p, h)
	h.Release()
	h = r.norm2.ForwardSiLU(p, h1)
	h1.Release()
	residual := x
	if r.shortcut != nil {
		residual = r.shortcut.Forward(p, x)
		x.Release()
	}
	y := r.conv2.ForwardFused(p, h, autodiff.Fused{Residual: residual})
	h.Release()
	residual.Release()
	nn.Observe(p, r.path, y)
	return y
}

// attention lets all pixels of the smallest feature map see each other; it has
// one head.
type attention struct {
	norm         *nn.GroupNorm
	q, k, v, out *nn.Linear
	path         string
}

func loadAttention(l *nn.Loader, c, groups int) *attention {
	return &attention{
		norm: l.GroupNorm("group_norm", c, groups, eps),
		q:    l.Linear("to_q", c, c, true), k: l.Linear("to_k", c, c, true), v: l.Linear("to_v", c, c, true),
		out: l.Linear("to_out.0", c, c, true), path: l.Path(""),
	}
}

// forward gives up the caller's hold on x [N,H,W,C].
func (a *attention) forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	n, h, w, c := x.T.Dim(0), x.T.Dim(1), x.T.Dim(2), x.T.Dim(3)
	defer x.Release()
	normed := a.norm.Forward(p, x)
	tokens := p.Reshape(normed, n, h*w, c)
	normed.Release()
	q, k, v := a.q.Forward(p, tokens), a.k.Forward(p, tokens), a.v.Forward(p, tokens)
	tokens.Release()
	o := p.Attention(q, k, v, 1, float32(1/math.Sqrt(float64(c))), false)
	q.Release()
	k.Release()
	v.Release()
	defer o.Release()
	residual := p.Reshape(x, n, h*w, c)
	defer residual.Release()
	y := a.out.ForwardAdd(p, o, residual, "")
	defer y.Release()
	picture := p.Reshape(y, n, h, w, c)
	nn.Observe(p, a.path, picture)
	return picture
}

// midBlock is resnet, attention, resnet.
type midBlock struct {
	resnets   [2]*resnet
	attention *attention
}

func loadMid(l *nn.Loader, c, groups int) *midBlock {
	return &midBlock{
		resnets:   [2]*resnet{loadResnet(l.In("resnets.0"), c, c, groups), loadResnet(l.In("resnets.1"), c, c, groups)},
		attention: loadAttention(l.In("attentions.0"), c, groups),
	}
}

func (m *midBlock) forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	x = m.resnets[0].forward(p, x)
	x = m.attention.forward(p, x)
	return m.resnets[1].forward(p, x)
}
