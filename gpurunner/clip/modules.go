package clip

import "github.com/lowrank/lowrank/gpurunner/nn"

// Outline returns the encoder of a configuration without weights, for its
// Modules.
func Outline(c Config) *Encoder { return Load(nn.Outline(), c) }

// Modules lists every linear layer in the order in which transformers
// registers them: in a layer k, v, q, out of the attention, then the
// perceptron. Adapter files that number their entries mean this order.
func (e *Encoder) Modules() []nn.Module {
	var list []nn.Module
	add := func(class string, layers ...*nn.Linear) {
		for _, l := range layers {
			list = append(list, nn.Module{Path: l.Path, Class: class, Linear: l})
		}
	}
	for _, l := range e.Layers {
		add("CLIPAttention", l.K, l.V, l.Q, l.Out)
		add("", l.FC1, l.FC2)
	}
	if e.projection != nil {
		add("", e.projection)
	}
	return list
}
