package nn

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
)

// Linear is y = x·Wᵀ + b, with a slot for an adapter.
type Linear struct {
	Path    string
	In, Out int
	W       autodiff.Weight
	Bias    *autodiff.Value // nil for none
	Adapter *autodiff.Adapter
}

// Linear loads name.weight [out,in] and, if bias, name.bias [out]. The weight
// may be stored as a 1×1 convolution.
func (l *Loader) Linear(name string, in, out int, bias bool) *Linear {
	m := &Linear{Path: l.Path(name), In: in, Out: out}
	s := l.In("%s", name)
	m.W = s.matrix("weight", []int{out, in}, []int{out, in, 1, 1})
	if bias {
		m.Bias = s.plain("bias", out)
	}
	return m
}

// Forward maps [...,In] to [...,Out].
func (m *Linear) Forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	y := p.Linear(x, m.W, m.Bias, m.Adapter, autodiff.Fused{})
	Observe(p, m.Path, y)
	return y
}

// ForwardAdd is Forward + residual. where is the path of the module of which
// this is the last layer, whose output is seen without the residual.
func (m *Linear) ForwardAdd(p *autodiff.Pass, x, residual *autodiff.Value, where string) *autodiff.Value {
	if p.Tap == nil {
		return p.Linear(x, m.W, m.Bias, m.Adapter, autodiff.Fused{Residual: residual})
	}
	y := m.Forward(p, x)
	defer y.Release()
	Observe(p, where, y)
	return p.Add(y, residual)
}

// Conv is a convolution, with a slot for an adapter.
type Conv struct {
	Path    string
	In, Out int
	Kernel  int
	Geom    device.ConvGeom // stride and paddings
	W       autodiff.Weight
	Bias    *autodiff.Value
	Adapter *autodiff.Adapter
}

// Conv loads name.weight [out,in,k,k] and name.bias. The padding is k/2 on all
// sides.
func (l *Loader) Conv(name string, in, out, k, stride int) *Conv {
	pad := k / 2
	return l.ConvPadded(name, in, out, k, device.ConvGeom{Stride: stride, Top: pad, Left: pad, Bottom: pad, Right: pad})
}

// ConvPadded is Conv with the stride and paddings of g.
func (l *Loader) ConvPadded(name string, in, out, k int, g device.ConvGeom) *Conv {
	m := &Conv{Path: l.Path(name), In: in, Out: out, Kernel: k, Geom: g}
	s := l.In("%s", name)
	m.W = s.matrix("weight", []int{out, in, k, k})
	m.Bias = s.plain("bias", out)
	return m
}

// Forward maps [N,H,W,In] to [N,OutH,OutW,Out].
func (m *Conv) Forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	return m.ForwardFused(p, x, autodiff.Fused{})
}

// ForwardFused is Forward plus what f adds.
func (m *Conv) ForwardFused(p *autodiff.Pass, x *autodiff.Value, f autodiff.Fused) *autodiff.Value {
	y := p.Conv(x, m.W, m.Bias, m.Adapter, m.Geom, f)
	Observe(p, m.Path, y)
	return y
}

// ForwardUpsampled stretches x to h×w by nearest neighbour first.
func (m *Conv) ForwardUpsampled(p *autodiff.Pass, x *autodiff.Value, h, w int) *autodiff.Value {
	g := m.Geom
	g.UpH, g.UpW = h, w
	return p.Conv(x, m.W, m.Bias, m.Adapter, g, autodiff.Fused{})
}

// GroupNorm normalises groups of channels.
type GroupNorm struct {
	Path        string
	Groups      int
	Eps         float32
	Gamma, Beta *autodiff.Value
}

// GroupNorm loads name.weight and name.bias [c].
func (l *Loader) GroupNorm(name string, c, groups int, eps float64) *GroupNorm {
	s := l.In("%s", name)
	return &GroupNorm{Path: s.Path(""), Groups: groups, Eps: float32(eps), Gamma: s.plain("weight", c), Beta: s.plain("bias", c)}
}

// Forward normalises x [N,...,C].
func (m *GroupNorm) Forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	y := p.GroupNorm(x, m.Gamma, m.Beta, m.Groups, m.Eps, false)
	Observe(p, m.Path, y)
	return y
}

// ForwardSiLU is SiLU(Forward).
func (m *GroupNorm) ForwardSiLU(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	if p.Tap == nil {
		return p.GroupNorm(x, m.Gamma, m.Beta, m.Groups, m.Eps, true)
	}
	y := m.Forward(p, x)
	defer y.Release()
	return p.Activate(device.SiLU, y)
}

// LayerNorm normalises rows.
type LayerNorm struct {
	Path        string
	Eps         float32
	Gamma, Beta *autodiff.Value
}

// LayerNorm loads name.weight and name.bias [c].
func (l *Loader) LayerNorm(name string, c int, eps float64) *LayerNorm {
	s := l.In("%s", name)
	return &LayerNorm{Path: s.Path(""), Eps: float32(eps), Gamma: s.plain("weight", c), Beta: s.plain("bias", c)}
}

// Forward normalises the rows of x [...,C].
func (m *LayerNorm) Forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	y := p.LayerNorm(x, m.Gamma, m.Beta, m.Eps)
	Observe(p, m.Path, y)
	return y
}

// Table loads an embedding table name.weight [rows,c].
func (l *Loader) Table(name string, rows, c int) *autodiff.Value {
	return l.In("%s", name).plain("weight", rows, c)
}

// Observe shows y to the pass's tap, if there is one.
func Observe(p *autodiff.Pass, path string, y *autodiff.Value) {
	if p.Tap != nil {
		p.Tap(path, y.T)
	}
}
