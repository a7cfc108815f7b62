package main

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// A drawing beside stable-diffusion.cpp. Its wrapper hands out no UNet, so what
// is timed is a step of a guided drawing, which is an evaluation of two samples
// and next to nothing else. With two steps both sides' schedules of Euler's
// method are the same numbers: timesteps 999 and 0.
const (
	drawingSteps    = 2
	drawingPrompt   = "a photo of a lighthouse at night"
	drawingGuidance = 7.5
	drawingSide     = 512
	drawingSeed     = 7
	drawingPeer     = "stable-diffusion.cpp"
	drawingPSNR     = 30 // dB between both sides' pictures, at least
)

func benchDrawing(b *bench) ([]row, error) {
	const name = "UNet evaluation in a drawing, SD 1.5 size, 64×64 latents, guided"
	if !b.wants(name, device.F32, drawingPeer) {
		return nil, nil
	}
	folder, done, err := openFolder(b.large)
	if err != nil {
		return nil, err
	}
	defer done()
	p, err := startPeer(b.python, "sdcpp.py", b.threads)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var form struct{ Form string }
	if err := p.ask(map[string]any{"op": "load", "folder": folder, "threads": b.threads, "form": sdcppForm}, &form); err != nil {
		return nil, err
	}
	ours, err := openDrawer(folder, b.threads)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	var mine, theirs []float64
	for i := range min(2, b.runs) {
		seconds, picture, err := ours.draw()
		if err != nil {
			return nil, err
		}
		var answer struct {
			Ends    [][2]float64
			Picture []int
		}
		if err := p.ask(map[string]any{"op": "run", "prompt": drawingPrompt, "width": drawingSide, "height": drawingSide, "guidance": drawingGuidance,
			"steps": drawingSteps, "seed": drawingSeed}, &answer); err != nil {
			return nil, err
		}
		if i == 0 {
			if err := alike(picture.Pix, answer.Picture, drawingPSNR); err != nil {
				return nil, err
			}
		}
		last := len(answer.Ends) - 1
		if last < 1 {
			return nil, fmt.Errorf("the peer told of %d steps", last+1)
		}
		theirs = append(theirs, (answer.Ends[last][1]-answer.Ends[0][1])/(answer.Ends[last][0]-answer.Ends[0][0]))
		mine = append(mine, seconds)
	}
	r := faster(name+", f32", drawingPeer+", "+form.Form, mine, theirs)
	r.Share = 2 * flopUNet / r.Ours / b.peak
	return []row{r}, nil
}

// sdcppForm is stable-diffusion.cpp's fastest form of those tried on a
// processor.
var sdcppForm = map[string]bool{}

// drawer is ours.
type drawer struct {
	dev   *cpu.Device
	base  *base.Base
	model *diffusion.Model
}

func openDrawer(folder string, threads int) (*drawer, error) {
	dev, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	d := &drawer{dev: dev}
	if d.base, err = base.Open(folder, base.Options{}); err != nil {
		return nil, err
	}
	d.model, err = diffusion.Open(tensor.NewPool(dev), d.base)
	return d, err
}

// draw returns the seconds of a step, the first left out, and the picture.
func (d *drawer) draw() (seconds float64, picture *imageops.Picture, err error) {
	var ends []time.Time
	err = generate.Draw(context.Background(), d.model, generate.Request{Prompt: drawingPrompt, Width: drawingSide, Height: drawingSide,
		Steps: drawingSteps, Guidance: drawingGuidance, Scheduler: sampler.Euler, Original: true, Noise: sdcppNoise{},
		Progress: func(generate.Step) { ends = append(ends, time.Now()) },
	}, func(_ int, p *imageops.Picture) error { picture = p; return nil })
	if err != nil {
		return 0, nil, err
	}
	return ends[len(ends)-1].Sub(ends[0]).Seconds() / float64(len(ends)-1), picture, nil
}

func (d *drawer) close() {
	d.dev.Close()
	d.base.Close()
}

// sdcppNoise is what stable-diffusion.cpp starts from with its rng "cuda":
// Philox4x32-10 by element of [C,H,W], Box and Muller's sine.
type sdcppNoise struct{}

// Draw implements generate.Noise.
func (sdcppNoise) Draw(dst *tensor.Tensor, _ int, _ generate.Purpose, _ int) {
	h, w, c := dst.Dim(1), dst.Dim(2), dst.Dim(3)
	values := make([]float32, h*w*c)
	for i := range values {
		const inverse = 1.0 / (1 << 32)
		x := philox([4]uint32{2: uint32(i)}, [2]uint32{drawingSeed})
		u, v := (float64(x[0])+0.5)*inverse, (float64(x[1])+0.5)*inverse*2*math.Pi
		values[i%(h*w)*c+i/(h*w)] = float32(math.Sqrt(-2*math.Log(u)) * math.Sin(v))
	}
	dst.SetFloat32(values)
}

// philox is Philox4x32-10 (Salmon et al. 2011).
func philox(c [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		h0, l0 := bits.Mul32(c[0], 0xD2511F53)
		h1, l1 := bits.Mul32(c[2], 0xCD9E8D57)
		c = [4]uint32{h1 ^ c[1] ^ k[0], l1, h0 ^ c[3] ^ k[1], l0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}
