package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Placement says which positions of a prompt hold trained rows.
type Placement struct {
	Positions []int32 // rows of the flattened prompts
	Rows      []int32 // of the trained table, one a position
}

type placeRows struct {
	y, table        *Value
	positions, rows *tensor.Tensor
	seen            func(dy *tensor.Tensor)
}

// PlaceRows returns prompts [B,T,C] with rows of table [E,C] added at the
// places where they belong. The rows of the frozen vocabulary come in by
// prompts already, so that the vocabulary never has to be on the device.
//
// seen, if not nil, is shown the gradient of the whole result in backward: the
// gradient of all rows of the vocabulary that the prompts use.
func (p *Pass) PlaceRows(prompts *tensor.Tensor, table *Value, at Placement, seen func(dy *tensor.Tensor)) *Value {
	p.check()
	y := prompts.Clone()
	out := &Value{T: y}
	if table == nil || len(at.Positions) == 0 {
		return out
	}
	positions := p.Pool.FromInt32(at.Positions, len(at.Positions))
	rows := p.Pool.FromInt32(at.Rows, len(at.Rows))
	picked := p.new(len(at.Rows), table.T.Dim(1))
	p.Device().Gather(picked.Matrix(), table.T.Matrix(), rows.Data)
	p.Device().ScatterAddRows(y.Matrix(), picked.Matrix(), positions.Data)
	picked.Release()
	if p.tape != nil && table.needs {
		out.needs = true
		p.record(&placeRows{out, table, positions.Retain(), rows.Retain(), seen})
	}
	positions.Release()
	rows.Release()
	return out
}

func (op *placeRows) output() *Value { return op.y }

func (op *placeRows) release() {
	op.positions.Release()
	op.rows.Release()
	op.positions, op.rows = nil, nil
}

func (op *placeRows) backward(p *Pass, dy *tensor.Tensor) {
	if op.seen != nil {
		op.seen(dy)
	}
	g, acc := p.gradInto(op.table)
	if acc == 0 {
		p.Device().Fill(g.Data, 0)
	}
	picked := p.new(op.rows.Len(), g.Dim(1))
	p.Device().Gather(picked.Matrix(), dy.Matrix(), op.positions.Data)
	p.Device().ScatterAddRows(g.Matrix(), picked.Matrix(), op.rows.Data)
	picked.Release()
}
