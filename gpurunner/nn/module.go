package nn

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
)

// Module is a layer that can carry an adapter, under its name in diffusers or
// transformers.
type Module struct {
	Path string
	// Class is the class of the block that the layer belongs to, where
	// adapters are aimed at such blocks: "CrossAttention", "GEGLU",
	// "ResnetBlock2D", "CLIPAttention"; else empty.
	Class string
	// One of these is set. Pointwise marks a Linear that PyTorch keeps as a
	// 1×1 convolution.
	Linear    *Linear
	Conv      *Conv
	Pointwise bool
}

// Size returns the numbers of inputs and outputs, and the side of the kernel
// that PyTorch's layer has: 0 for a linear layer.
func (m Module) Size() (in, out, kernel int) {
	switch {
	case m.Conv != nil:
		return m.Conv.In, m.Conv.Out, m.Conv.Kernel
	case m.Pointwise:
		return m.Linear.In, m.Linear.Out, 1
	}
	return m.Linear.In, m.Linear.Out, 0
}

// Slot is the layer's place for an adapter.
func (m Module) Slot() **autodiff.Adapter {
	if m.Conv != nil {
		return &m.Conv.Adapter
	}
	return &m.Linear.Adapter
}

// Outline returns a loader without weights: what it makes has names and sizes
// only. It is for listing the modules of a configuration.
func Outline() *Loader { return NewLoader(nil, nothing{}) }

type nothing struct{}

func (nothing) Weight(string) (device.HostWeight, bool) { return device.HostWeight{}, false }
