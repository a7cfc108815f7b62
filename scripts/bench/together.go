package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Pictures of several users, each with a concept of its own, drawn together beside
// the same ones one after the other. There is no peer: diffusers and
// stable-diffusion.cpp draw the samples of a batch with the same concepts.
const (
	users         = 4
	togetherSteps = 20
	togetherSide  = 64
	inTurn        = "the same, one after the other"
)

func benchTogether(b *bench) (rows []row, err error) {
	for _, precision := range []device.DType{device.F32, device.BF16} {
		for _, c := range []struct {
			name     string
			concepts bool
		}{{fmt.Sprintf("%d users' pictures, %d concepts", users, users), true}, {fmt.Sprintf("%d users' pictures of the bare base", users), false}} {
			name := fmt.Sprintf("%s, in one evaluation a step, embedded base, %v", c.name, precision)
			if !b.wants(name, precision, inTurn) {
				continue
			}
			r, err := b.together(name, precision, c.concepts)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// together measures all drawings from their prompts to their pictures.
func (b *bench) together(name string, precision device.DType, concepts bool) (row, error) {
	dev, err := cpu.New(cpu.Options{Threads: b.threads, Precision: precision})
	if err != nil {
		return row{}, err
	}
	defer dev.Close()
	files, err := base.Open(embeddedFolder, base.Options{})
	if err != nil {
		return row{}, err
	}
	defer files.Close()
	m, err := diffusion.Open(tensor.NewPool(dev), files)
	if err != nil {
		return row{}, err
	}
	layers := generate.Layers(embeddedFolder, m)
	mounts := make([][]lora.Mount, users)
	for i := range mounts {
		if concepts {
			mounts[i] = []lora.Mount{{Set: concept(layers, uint32(i), m.Text[0].Config.HiddenSize), Scale: 1}}
		}
	}
	run := func(most int) (seconds float64, pictures [][]byte, err error) {
		pictures, errs := make([][]byte, users), make([]error, users)
		batch := generate.NewBatch(dev, most)
		begin := time.Now()
		if most == 1 {
			for i := range users {
				pictures[i], errs[i] = drawOne(m, batch, i, mounts[i])
			}
		} else {
			var wg sync.WaitGroup
			for i := range users {
				wg.Go(func() { pictures[i], errs[i] = drawOne(m, batch, i, mounts[i]) })
			}
			wg.Wait()
		}
		return time.Since(begin).Seconds(), pictures, firstOf(errs)
	}
	_, alone, err := run(1)
	if err != nil {
		return row{}, err
	}
	_, all, err := run(users)
	if err != nil {
		return row{}, err
	}
	if !slices.EqualFunc(alone, all, slices.Equal) {
		return row{}, fmt.Errorf("the pictures are others than alone")
	}
	ours, theirs, err := alternate(b.runs,
		func() (float64, error) { s, _, err := run(users); return s, err },
		func() (float64, error) { s, _, err := run(1); return s, err })
	return faster(name, inTurn, ours, theirs), err
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// drawOne is one user's job.
func drawOne(m *diffusion.Model, batch *generate.Batch, user int, mounts []lora.Mount) (picture []byte, err error) {
	ctx := context.Background()
	seat, err := batch.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer seat.Leave()
	c, err := generate.Mount(m, mounts)
	if err != nil {
		return nil, err
	}
	defer c.Release()
	prompt := "a photo of a cat"
	if mounts != nil {
		prompt = "a photo of <s1>"
	}
	err = generate.Draw(ctx, m, generate.Request{Prompt: prompt, Width: togetherSide, Height: togetherSide, Steps: togetherSteps,
		Guidance: drawingGuidance, Scheduler: sampler.DPMMultistep, Seed: uint64(user), Seat: seat, Concepts: c, Words: c.Words,
	}, func(_ int, p *imageops.Picture) error { picture = p.Pix; return nil })
	return picture, err
}
