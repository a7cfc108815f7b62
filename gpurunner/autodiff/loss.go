package autodiff

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Loss computes each sample's share of a weighted, masked mean of squares and
// leaves its gradient on pred for Backward: Σ_n weight[n]·mean((mask·(pred −
// target))²)/N. pred and target are [N,...,C]; mask [N,...] has one number a
// pixel; mask and weight [N] may be nil. The result is f32 [N], the caller's.
func (p *Pass) Loss(pred *Value, target, mask, weight *tensor.Tensor) *tensor.Tensor {
	p.check()
	n, c := pred.T.Dim(0), pred.T.Dim(-1)
	g := device.LossGeom{N: n, Pixels: pred.T.Len() / (n * c), C: c}
	loss := p.new(n)
	var dpred *tensor.Tensor
	var d, m, w device.Array
	if p.tape != nil && pred.needs {
		dpred = p.new(pred.T.Shape...)
		d = dpred.Data
	}
	if mask != nil {
		m = mask.Data
	}
	if weight != nil {
		w = weight.Data
	}
	p.Device().Loss(loss.Data, d, pred.T.Data, target.Data, m, w, g)
	if dpred != nil {
		p.giveGrad(pred, dpred)
		dpred.Release()
	}
	return loss
}

// Seed leaves g as the gradient of v, as a loss would.
func (p *Pass) Seed(v *Value, g *tensor.Tensor) { p.giveGrad(v, g) }
