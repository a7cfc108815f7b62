package generate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// TestParity runs whole pipelines on the recorded noise.
func TestParity(t *testing.T) {
	for _, class := range []string{"pipelines", "pipelines/original"} {
		t.Run(class, func(t *testing.T) {
			enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
				paritytest.Each(t, class, func(t *testing.T, c *paritytest.Case) { comparePipeline(t, pool, c) })
			})
		})
	}
}

// kinds are the schedulers as the expected numbers name them.
var kinds = map[string]sampler.Kind{
	"ddim": sampler.DDIM, "pndm": sampler.PNDM, "lms": sampler.LMS, "euler": sampler.Euler, "euler_ancestral": sampler.EulerAncestral,
	"dpmpp_2m": sampler.DPMMultistep, "dpmpp_2m_karras": sampler.KarrasDPM, "ddpm": sampler.DDPM, "unipc": sampler.UniPC,
}

func comparePipeline(t *testing.T, pool *tensor.Pool, c *paritytest.Case) {
	m, err := diffusion.Open(pool, enginetest.Base(t, c.ModelDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	name, _, leading := strings.Cut(c.Text("scheduler"), " (leading")
	kind, ok := kinds[name]
	if !ok {
		t.Fatalf("no scheduler for the name %q: add it here", name)
	}
	if leading {
		m.Scheduler.TimestepSpacing = "leading"
	}
	number := func(names ...string) float64 {
		for _, n := range names {
			if v, ok := c.Meta[n].(float64); ok {
				return v
			}
		}
		return 0
	}
	image := c.Tensor(t, "out.image")
	original := c.Class == "pipelines/original"
	task := strings.SplitN(c.Base, ".", 2)[0]
	r := generate.Request{
		Prompt: c.Text("prompt"), Negative: c.Text("negative_prompt"), Num: image.Shape[0], Height: image.Shape[1], Width: image.Shape[2],
		Steps: int(number("num_inference_steps", "steps")), Guidance: number("guidance_scale", "guidance"), Scheduler: kind,
		Strength: number("strength"), Original: original,
	}
	_, r.EncodeEmpty = c.Meta["negative_prompt"].(string) // and not null
	input := c
	if original {
		input = nil
		for _, other := range c.Root.Cases(t, "pipelines") {
			if strings.HasPrefix(other.Base, "inpaint.") {
				input = other
			}
		}
	}
	if task != "txt2img" {
		x := input.Tensor(t, "in.image")
		r.Image = &imageops.Picture{Width: x.Shape[1], Height: x.Shape[0], Pix: x.U8}
		if original {
			if r.Image, err = r.Image.ResizeToMultiple(32); err != nil {
				t.Fatal(err)
			}
		}
	}
	if strings.HasPrefix(task, "inpaint") {
		x := input.Tensor(t, "in.mask")
		r.Mask = &generate.Mask{Width: x.Shape[1], Height: x.Shape[0], Values: x.U8}
		if original {
			r.Mask = latentMask(r.Mask, r.Width, r.Height, m.VAEConfig().Factor())
		}
	}
	r.Noise = recorded{t, c, task, m.Inpaints()}

	want := c.Tensor(t, "out.step_latents").NHWC()
	steps, size := want.Shape[0], want.Len()/want.Shape[0]/r.Num
	latents := make([]float32, want.Len())
	got := 0
	// The original calls back once a step, and PNDM evaluates its first step
	// twice.
	silent := len(plan(t, m, r).Evals) - steps
	r.Latents = func(image, eval int, x []float32) {
		if eval >= silent {
			got++
			copy(latents[((eval-silent)*r.Num+image)*size:], x)
		}
	}
	var pixels []uint8
	err = generate.Draw(context.Background(), m, r, func(_ int, p *imageops.Picture) error {
		pixels = append(pixels, p.Pix...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got != steps*r.Num {
		t.Fatalf("%d evaluations, want %d", got, steps*r.Num)
	}
	c.CompareNHWC(t, "out.step_latents", latents)
	c.CompareBytes(t, "out.image", pixels)
	var ts []float64
	for _, e := range plan(t, m, r).Evals[silent:] {
		ts = append(ts, e.Timestep)
	}
	name = "timesteps"
	if original {
		name = "callback_timesteps"
	}
	c.CompareNumbers(t, ts, name)
}

// latentMask takes of a mask the pixel in the middle of each latent's share, as
// the original's legacy inpainting does straight from a mask of any size, and
// spreads it over the latent's pixels of a drawing of w×h.
func latentMask(m *generate.Mask, w, h, factor int) *generate.Mask {
	out := &generate.Mask{Width: w, Height: h}
	for y := range h {
		for x := range w {
			// (2i+1)/2n of the way, n latents in all.
			my := (2*(y/factor) + 1) * m.Height * factor / (2 * h)
			mx := (2*(x/factor) + 1) * m.Width * factor / (2 * w)
			out.Values = append(out.Values, m.Values[my*m.Width+mx])
		}
	}
	return out
}

// plan is the plan that Draw follows.
func plan(t *testing.T, m *diffusion.Model, r generate.Request) *sampler.Plan {
	strength := r.Strength
	if r.Image == nil || m.Inpaints() && strength == 1 {
		strength = 0
	}
	p, err := sampler.New(r.Scheduler, m.Scheduler, r.Steps, sampler.Options{Strength: strength, Original: r.Original})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// recorded gives the noise of the run that made the expected numbers: every
// draw in order, or in.latents.
type recorded struct {
	t        *testing.T
	c        *paritytest.Case
	task     string
	inpaints bool
}

func (r recorded) Draw(dst *tensor.Tensor, image int, purpose generate.Purpose, n int) {
	name := "in.latents"
	switch {
	case purpose == generate.Start && r.task == "txt2img" && r.c.Has(name):
	case r.task == "txt2img" && purpose == generate.Start:
		name = "noise.0"
	case r.task == "txt2img":
		if !r.c.Has(name) {
			n++
		}
		name = fmt.Sprintf("noise.%d", n)
	case r.inpaints:
		name = map[generate.Purpose]string{generate.Start: "noise.0", generate.Masked: "noise.1"}[purpose]
		if purpose == generate.Ancestral {
			name = fmt.Sprintf("noise.%d", 2+n)
		}
	default:
		name = map[generate.Purpose]string{generate.Posterior: "noise.0", generate.Start: "noise.1"}[purpose]
		if purpose == generate.Ancestral {
			first := 2
			if r.task == "inpaint" {
				first = 3 // noise.2 is drawn for the masked picture, which this network does not take
			}
			name = fmt.Sprintf("noise.%d", first+n)
		}
	}
	x := r.c.Tensor(r.t, name).NHWC()
	size := x.Len() / x.Shape[0]
	dst.SetFloat32(x.F32[image*size:][:size])
}
