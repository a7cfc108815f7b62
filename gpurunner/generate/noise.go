package generate

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Purpose says what a draw of noise is for.
type Purpose uint32

// The purposes, in the order in which a run draws.
const (
	Posterior Purpose = iota // samples the autoencoder's distribution of the input picture
	Masked                   // the same for the picture with the masked part blacked out
	Start                    // the latents that the run starts from
	Ancestral                // the sampler's own, once an evaluation where it asks for it
)

// Noise fills latents [1,h,w,c] with standard normal numbers. n counts the
// draws of a purpose for picture number image.
type Noise interface {
	Draw(dst *tensor.Tensor, image int, purpose Purpose, n int)
}

// Seeded is the noise of a seed.
func Seeded(seed uint64) Noise { return seeded{seed} }

// seeded draws Philox numbers: key seed, stream image and purpose, step n.
type seeded struct{ seed uint64 }

// streamOfDrawing keeps drawing's numbers apart from training's.
const streamOfDrawing = 1 << 24

func (s seeded) Draw(dst *tensor.Tensor, image int, purpose Purpose, n int) {
	step := dst.Pool().FromInt32([]int32{int32(n)}, 1)
	defer step.Release()
	dst.Pool().Device.Normal(dst.Data, device.Draw{
		Key: s.seed, Stream: streamOfDrawing + uint32(image)<<4 + uint32(purpose), Step: step.Data,
	})
}
