package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

type gather struct {
	y, table *Value
	ids      *tensor.Tensor
}

// Gather picks rows: table [V,C] and ids i32 [...] give [...,C].
func (p *Pass) Gather(table *Value, ids *tensor.Tensor) *Value {
	p.check()
	y := p.new(append(append([]int(nil), ids.Shape...), table.T.Dim(-1))...)
	p.Device().Gather(y.Matrix(), table.T.Matrix(), ids.Data)
	out := &Value{T: y}
	if p.tape != nil && table.needs {
		out.needs = true
		p.record(&gather{out, table, ids.Retain()})
	}
	return out
}

func (op *gather) output() *Value { return op.y }
func (op *gather) release()       { op.ids.Release(); op.ids = nil }

func (op *gather) backward(p *Pass, dy *tensor.Tensor) {
	g, acc := p.gradInto(op.table)
	if acc == 0 {
		p.Device().Fill(g.Data, 0)
	}
	p.Device().ScatterAddRows(g.Data.Matrix(op.table.T.Dim(0), op.table.T.Dim(1)), dy.Matrix(), op.ids.Data)
}
