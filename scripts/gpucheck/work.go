package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// ours draws and trains with one model.
func (r *report) ours(ctx context.Context, w io.Writer, name string, s settings) error {
	if name == "embedded" {
		name = embedded.Name
	}
	files, err := openModel(name)
	if err != nil {
		return err
	}
	precision, err := precisionOf(s.precision, r.GPU)
	if err != nil {
		return err
	}
	for _, part := range []func(*bench) error{(*bench).draw, tuning(4), tuning(1), (*bench).concept} {
		// Each on a device of its own: none meets another's memory, or its peak.
		dev, err := cuda.New(cuda.Options{Precision: precision})
		if err != nil {
			return err
		}
		b := &bench{ctx: ctx, w: w, report: r, name: name, size: s.edge(name), settings: s, files: files, precision: precision.String()}
		b.counter = &counter{Device: dev}
		err = b.with(part)
		if c, ok := dev.(interface{ Close() }); ok {
			c.Close()
		}
		if errors.Is(err, device.ErrOutOfMemory) { // a result, not a failure
			r.add(w, row{Model: name, Work: b.work, Side: "lowrank", Precision: b.precision, Note: err.Error()})
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// precisionOf turns a name into a type; auto is what the service takes.
func precisionOf(name string, info cuda.Info) (device.DType, error) {
	for _, p := range precisions(info) {
		if p.String() == name {
			return p, nil
		}
	}
	if name != "auto" {
		return 0, fmt.Errorf("-precision %s is not to be had on this GPU", name)
	}
	if info.Capability < 80 {
		return device.F32, nil
	}
	return device.BF16, nil
}

// bench is one model on the device.
type bench struct {
	settings
	ctx       context.Context
	w         io.Writer
	report    *report
	name      string
	size      int
	precision string
	files     diffusion.Files
	counter   *counter
	model     *diffusion.Model
	work      string
}

func (b *bench) with(part func(*bench) error) (err error) {
	b.model, err = diffusion.Open(tensor.NewPool(b.counter), b.files)
	if err != nil {
		return err
	}
	defer b.model.Release()
	return part(b)
}

// measured adds a row: seconds a step, of which there are perSecond things.
func (b *bench) measured(step float64, flops float64, note string) {
	share := 0.0
	if peak := peakFLOPS(b.report.GPU); peak > 0 && step > 0 {
		share = flops / step / peak
	}
	if s, ok := b.counter.Device.(interface {
		Replays() (share float64, note string)
	}); ok {
		if share, off := s.Replays(); off != "" {
			note += "; " + off
		} else {
			note += fmt.Sprintf("; %.0f %% of all operations replayed", 100*share)
		}
	}
	b.report.add(b.w, row{Model: b.name, Work: b.work, Side: "lowrank", Precision: b.precision, Step: step, TFLOP: flops / 1e12, PeakShare: share,
		Memory: b.counter.Stats().Peak, Note: note})
}

// draw times a whole drawing and, by a shorter one, a step of it.
func (b *bench) draw() error {
	b.work = fmt.Sprintf("draw %d×%d, guided", b.size, b.size)
	once := func(steps int) (time.Duration, error) {
		begun := time.Now()
		err := generate.Draw(b.ctx, b.model, generate.Request{Prompt: "a photo of a lighthouse at night", Width: b.size, Height: b.size,
			Steps: steps, Guidance: 7.5, Seed: 1}, func(int, *imageops.Picture) error { return nil })
		return time.Since(begun), err
	}
	short := max(b.steps/4, 1)
	var whole, part []float64
	for i := range b.runs + 1 {
		a, err := once(short)
		if err != nil {
			return err
		}
		c, err := once(b.steps)
		if err != nil {
			return err
		}
		if i > 0 { // the first loads weights and captures
			whole, part = append(whole, c.Seconds()), append(part, a.Seconds())
		}
	}
	before := b.counter.flops
	if _, err := once(short); err != nil {
		return err
	}
	middle := b.counter.flops
	if _, err := once(b.steps); err != nil {
		return err
	}
	steps := float64(max(b.steps-short, 1))
	flops := (b.counter.flops - middle - (middle - before)) / steps
	b.measured((median(whole)-median(part))/steps, flops, fmt.Sprintf("%.3f images/s with %d steps, text and decoding too", 1/median(whole), b.steps))
	return nil
}

// tuning times steps of so many samples, text encoder too, with cached latents.
func tuning(batch int) func(*bench) error {
	return func(b *bench) error {
		b.work = fmt.Sprintf("tuning step, batch %d, %d×%d", batch, b.size, b.size)
		return b.tune(batch, b.steps+b.warm, true)
	}
}

// concept times a whole tuning at batch 1.
func (b *bench) concept() error {
	if b.settings.concept == 0 || b.name != "sd15" && b.name != embedded.Name {
		return nil
	}
	b.work = fmt.Sprintf("concept of %d tuning steps, batch 1, %d×%d", b.settings.concept, b.size, b.size)
	return b.tune(1, b.settings.concept, false)
}

func (b *bench) tune(batch, steps int, each bool) error {
	o := train.Advanced()
	o.Resolution, o.TrainBatchSize, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = b.size, batch, 0, steps
	o.TrainTextEncoder, o.CachedLatents, o.GradientAccumulationSteps, o.HorizontalFlip = true, true, 1, false
	o.LearningRateUNet, o.LearningRateText = 1e-6, 1e-6 // random weights learn nothing
	set := &dataset.Set{}
	for i := range 4 {
		p := dataset.Picture{Name: fmt.Sprint(i), Image: imageops.New(b.size, b.size), Original: dataset.Size{W: b.size, H: b.size}}
		for at := range p.Image.Pix {
			p.Image.Pix[at] = uint8(at*(3+i) + at/b.size*7)
		}
		set.Pictures = append(set.Pictures, p)
	}
	var times []float64
	var flops []float64
	last, counted := time.Now(), 0.0
	begun := last
	b.counter.flops = 0
	_, err := train.Run(b.ctx, train.Job{Model: b.model, Layers: generate.Layers(b.name, b.model), BaseID: b.name, Name: "check", Options: o, Data: set,
		Progress: func(train.Progress) {
			now := time.Now()
			times, flops = append(times, now.Sub(last).Seconds()), append(flops, b.counter.flops-counted)
			last, counted = now, b.counter.flops
		}})
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%.2f samples/s", float64(batch)/median(b.timed(times)))
	if !each {
		note = fmt.Sprintf("%.1f s in all", time.Since(begun).Seconds())
	}
	b.measured(median(b.timed(times)), median(b.timed(flops)), note)
	return nil
}

// timed leaves out the first steps.
func (b *bench) timed(v []float64) []float64 {
	if len(v) > b.warm {
		return v[b.warm:]
	}
	return v
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return (v[len(v)/2] + v[(len(v)-1)/2]) / 2
}
