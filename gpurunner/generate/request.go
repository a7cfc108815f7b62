package generate

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/sampler"
)

// Request says what to draw.
type Request struct {
	Prompt, Negative string
	EncodeEmpty      bool // encode an empty Negative too where the model takes zeros in its place (SDXL)
	Width, Height    int  // pixels; with Image, 0 means its size, rounded down to the autoencoder's multiple
	Steps            int
	Guidance         float64 // 1 and below: the negative prompt is not used
	Scheduler        sampler.Kind
	Seed             uint64
	Num              int // pictures; 0 means 1

	// Image starts image→image, and with Mask inpainting. Strength in (0,1]
	// is how much of it is drawn anew; networks made to inpaint may be given
	// 1.
	Image    *imageops.Picture
	Mask     *Mask
	Strength float64

	// Last says that the model is not used afterwards: each network is given
	// back when its work is done, the denoiser before the last picture is decoded.
	Last bool

	// Seat, if not nil, is that of this drawing in a Batch, which has the turn, and
	// Concepts what was mounted in it. Last is not for these.
	Seat     *Seat
	Concepts *Concepts

	// Words are the placeholder tokens that the prompts may hold.
	Words diffusion.Words
	// Noise replaces the numbers that Seed gives.
	Noise Noise
	// Original draws as diffusers 0.11.1 did, which the hosted original ran:
	// its schedules, and a mask's pixels taken at the middle of the latents'
	// instead of their corner.
	Original bool

	// Progress, if not nil, is called after every step.
	Progress func(Step)
	// Latents, if not nil, sees a picture's latents [h,w,c] after every
	// evaluation of the network.
	Latents func(image, eval int, latents []float32)
}

// Step tells how far a request is.
type Step struct {
	Image, Images int // picture being drawn, from 0, of so many
	Step, Steps   int // evaluations done, of so many
}

// fill completes a request and refuses what cannot be drawn with the model.
func (r *Request) fill(m *diffusion.Model) error {
	if r.Num == 0 {
		r.Num = 1
	}
	if r.Noise == nil {
		r.Noise = Seeded(r.Seed)
	}
	if r.Scheduler == "" {
		r.Scheduler = sampler.DPMMultistep
	}
	factor := m.VAEConfig().Factor()
	if r.Image != nil && r.Width == 0 && r.Height == 0 {
		r.Width, r.Height = r.Image.Width/factor*factor, r.Image.Height/factor*factor
	}
	switch {
	case r.Num < 0:
		return fmt.Errorf("number of pictures is %d; it must be at least 1", r.Num)
	case math.IsNaN(r.Guidance) || math.IsInf(r.Guidance, 0):
		return fmt.Errorf("guidance is %v; it must be a number", r.Guidance)
	case r.Image == nil && r.Mask != nil:
		return fmt.Errorf("a mask needs an image that it is a mask of")
	case r.Image != nil && (!(r.Strength > 0) || r.Strength > 1):
		return fmt.Errorf("prompt strength is %v; it must be above 0 and at most 1", r.Strength)
	case m.Inpaints() && r.Mask == nil:
		return fmt.Errorf("this base model is made to inpaint: give it an image and a mask")
	}
	return CheckSize(m, r.Width, r.Height)
}
