package unet

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
)

// Resnet is a residual block that adds the time embedding in its middle.
type Resnet struct {
	Norm1, Norm2 *nn.GroupNorm
	Conv1, Conv2 *nn.Conv
	TimeProj     *nn.Linear
	Shortcut     *nn.Conv // nil where the channels stay as they are

	path string
}

func loadResnet(l *nn.Loader, in, out, time, groups int, eps float64) *Resnet {
	r := &Resnet{
		Norm1:    l.GroupNorm("norm1", in, groups, eps),
		Conv1:    l.Conv("conv1", in, out, 3, 1),
		TimeProj: l.Linear("time_emb_proj", time, out, true),
		Norm2:    l.GroupNorm("norm2", out, groups, eps),
		Conv2:    l.Conv("conv2", out, out, 3, 1),
		path:     l.Path(""),
	}
	if in != out {
		r.Shortcut = l.Conv("conv_shortcut", in, out, 1, 1)
	}
	return r
}

// Forward maps x [N,H,W,in] to [N,H,W,out]; temb [N,time] is SiLU of the time
// embedding.
func (r *Resnet) Forward(p *autodiff.Pass, x, temb *autodiff.Value) *autodiff.Value {
	t := r.TimeProj.Forward(p, temb)
	h := r.Norm1.ForwardSiLU(p, x)
	h1 := r.Conv1.ForwardFused(p, h, autodiff.Fused{RowVector: t, RowsPerImage: x.T.Dim(1) * x.T.Dim(2)})
	h.Release()
	t.Release()
	h = r.Norm2.ForwardSiLU(p, h1)
	h1.Release()
	residual := x
	if r.Shortcut != nil {
		residual = r.Shortcut.Forward(p, x)
		defer residual.Release()
	}
	y := r.Conv2.ForwardFused(p, h, autodiff.Fused{Residual: residual})
	h.Release()
	nn.Observe(p, r.path, y)
	return y
}
