package generate

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
)

// maxSide is the longest side of a picture in pixels, the longest too that a
// base model's card may name.
const maxSide = 1 << 14

// mostWork is the most multiply-adds that one evaluation of the denoiser may
// take in self-attention, which grows with the square of the pixels: a
// processor is hours at so many. It also keeps the pieces that work is cut into,
// between which the end of a context is seen, below a second.
const mostWork = 1 << 49

// CheckSize refuses sizes in pixels that the model cannot draw, or that the
// device cannot hold: before anything of that size is made.
func CheckSize(m *diffusion.Model, width, height int) error {
	factor := max(m.VAEConfig().Factor(), 8)
	switch {
	case width < factor || height < factor || width%factor != 0 || height%factor != 0:
		return fmt.Errorf("size %dx%d: width and height must be multiples of %d, at least %d", width, height, factor, factor)
	case width > maxSide || height > maxSide:
		return fmt.Errorf("size %dx%d: width and height must be at most %d", width, height, maxSide)
	}
	h, w := height/m.VAEConfig().Factor(), width/m.VAEConfig().Factor()
	if work := m.UNetConfig().AttentionWork(h, w); work > mostWork {
		return fmt.Errorf("size %dx%d: one step of this model would take more than %.1g multiply-adds, which is hours; lower width and height",
			width, height, work)
	}
	r, ok := m.Pool.Device.(device.Roomy)
	if !ok {
		return nil
	}
	need := m.VAEConfig().DecoderBytes(h, w)
	if room, known := r.Room(); known && need > room {
		return fmt.Errorf("size %dx%d: the picture needs at least %s of memory, and %s are left; lower width and height",
			width, height, gib(need), gib(room))
	}
	return nil
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
