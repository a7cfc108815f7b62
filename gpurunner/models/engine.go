package models

import (
	"context"
	"crypto/sha256"
	"io"
	"os"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/worker"
)

// Bases opens base models by name.
type Bases interface {
	Open(ctx context.Context, name string) (*base.Base, error)
}

// Engine runs programs on one device. It is used by one goroutine.
type Engine struct {
	Pool  *tensor.Pool
	Bases Bases
	// NoPreviews keeps trainings from drawing how far they are.
	NoPreviews bool

	loaded *loaded
}

// loaded is the base model that is on the device.
type loaded struct {
	name   string
	base   *base.Base
	model  *diffusion.Model
	layers *lora.Base
	sets   *setCache
	limits events.BaseLimits // of the base's card, as the input schemas want them

	noPreviews bool
}

// Programs are what this engine can run, for worker.Loop.
func (e *Engine) Programs() map[events.Program]worker.Program {
	return map[events.Program]worker.Program{
		events.ProgramLora:             e.guard(e.draw),
		events.ProgramTraining:         e.guard(e.train),
		events.ProgramAdvancedTraining: e.guard(e.trainAdvanced),
	}
}

// guard makes sure that the next job does not meet what one that panicked has left
// half done: it loads the base model anew.
func (e *Engine) guard(p worker.Program) worker.Program {
	return func(ctx context.Context, t *worker.Task) error {
		whole := false
		defer func() {
			if !whole {
				e.abandon()
			}
		}()
		done := e.watchDevice(t)
		err := done(p(ctx, t))
		whole = true
		return err
	}
}

// abandon is Release of a model of which nothing is sure.
func (e *Engine) abandon() {
	l := e.loaded
	e.loaded = nil
	defer func() { _ = recover() }() // what cannot be given back is lost; the panic before says why
	(&Engine{loaded: l}).Release()
}

// use returns the base model of a job, loading it if it is not the one on the
// device.
func (e *Engine) use(ctx context.Context, name string) (*loaded, error) {
	if e.loaded != nil && e.loaded.name == name {
		return e.loaded, nil
	}
	e.Release()
	b, err := e.Bases.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	limits, err := Limits(b)
	var m *diffusion.Model
	if err == nil {
		m, err = diffusion.Open(e.Pool, b)
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	e.loaded = &loaded{name: name, base: b, model: m, layers: generate.Layers(name, m), sets: newSetCache(maxSets), limits: limits, noPreviews: e.NoPreviews}
	return e.loaded, nil
}

// Release gives back what the engine holds on the device.
func (e *Engine) Release() {
	if l := e.loaded; l != nil {
		l.sets.clear()
		l.model.Release()
		l.base.Close()
		e.loaded = nil
	}
}

// Limits turns a base model's card into the limits that its input schemas
// have.
func Limits(b *base.Base) (events.BaseLimits, error) {
	c := b.Card
	print, err := b.Fingerprint()
	return events.BaseLimits{
		Name: c.Name, SHA256: print, Sizes: c.Drawing.Sizes, Width: c.Drawing.Width, Height: c.Drawing.Height, MaxPixels: c.Drawing.MaxPixels,
		Resolution: c.Training.Resolution, MinResolution: c.Training.MinResolution, MaxResolution: c.Training.MaxResolution,
		ResolutionMultiple: c.Training.ResolutionMultiple, InferenceSteps: c.Drawing.Steps, MaxInferenceSteps: c.Drawing.MaxSteps,
		Guidance: c.Drawing.Guidance, Scheduler: c.Drawing.Scheduler, LoraScale: c.Drawing.LoRAScale,
		InversionSteps: c.Training.InversionSteps, TuningSteps: c.Training.TuningSteps,
	}, err
}

// fileHash is the SHA-256 of a file.
func fileHash(path string) (sum [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	copy(sum[:], h.Sum(nil))
	return sum, nil
}
