package models

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"sync"

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

// Printer is Bases that may be put in each other's place while an Engine runs.
type Printer interface {
	// Print names what the base is now; it changes when the base does.
	Print(name string) string
}

// MostTogether is how many drawings an Engine evaluates at once, where its device
// gives the same pictures then. Beyond it a processor gains next to nothing.
const MostTogether = 4

// mostLatents is up to how many latents a picture may have to be drawn together
// with others. Two samples of more already fill a processor: others beside them
// only make each wait longer.
const mostLatents = 32 * 32

// Engine runs programs on one device: a training alone, drawings side by side (see
// generate.Batch). Its programs may be called from several goroutines.
type Engine struct {
	Pool  *tensor.Pool
	Bases Bases
	// NoPreviews keeps trainings from drawing how far they are.
	NoPreviews bool

	once   sync.Once
	batch  *generate.Batch
	loaded *loaded // used by whoever has the turn

	mu   sync.Mutex
	seen map[string]seenBase // by name
}

// loaded is a base model on the device.
type loaded struct {
	name   string
	print  string
	users  int  // programs that run on it
	broken bool // one of them panicked
	base   *base.Base
	model  *diffusion.Model
	layers *lora.Base
	sets   *setCache
	limits events.BaseLimits // of the base's card, as the input schemas want them

	noPreviews bool
}

// program is a worker.Program that has the turn at the device when it begins and
// ends.
type program func(ctx context.Context, t *worker.Task, seat *generate.Seat) error

// Programs are what this engine can run, for worker.Loop.
func (e *Engine) Programs() map[events.Program]worker.Program {
	return map[events.Program]worker.Program{
		events.ProgramLora:             e.guard(e.draw),
		events.ProgramTraining:         e.guard(e.train),
		events.ProgramAdvancedTraining: e.guard(e.trainAdvanced),
	}
}

// seats is where the programs take their turns.
func (e *Engine) seats() *generate.Batch {
	e.once.Do(func() { e.batch = generate.NewBatch(e.Pool.Device, MostTogether) })
	return e.batch
}

// Most is how many jobs may run at once, for worker.Loop.
func (e *Engine) Most() int { return e.seats().Most() }

// Together reports whether two jobs gain by running at the same time, for
// worker.Loop: drawings of one small size on the base that is loaded.
func (e *Engine) Together(a, b events.Job) bool {
	if a.Program != events.ProgramLora || b.Program != a.Program || a.Base != b.Base {
		return false
	}
	e.mu.Lock()
	seen := e.seen[a.Base]
	e.mu.Unlock()
	first, second := seen.size(a), seen.size(b)
	return first == second && first[0]*first[1] <= mostLatents*seen.factor*seen.factor
}

// seenBase is what is known of a base that was used: nothing of the others.
type seenBase struct {
	limits events.BaseLimits
	factor int // of the autoencoder: pixels of a latent's side
}

// size is what a job draws, in pixels.
func (s seenBase) size(job events.Job) [2]int {
	in := events.LoraInput{Width: s.limits.Width, Height: s.limits.Height}
	_ = json.Unmarshal(job.Input, &in) // what is wrong with it the program says
	return [2]int{max(in.Width, 1), max(in.Height, 1)}
}

// guard gives a program its seat, and makes sure that the next job does not meet
// what one that panicked has left half done: it loads the base model anew.
func (e *Engine) guard(p program) worker.Program {
	return func(ctx context.Context, t *worker.Task) error {
		seat, err := e.seats().Enter(ctx)
		if err != nil {
			return err
		}
		whole := false
		defer func() {
			if !whole && e.loaded != nil {
				e.loaded.broken = true
				e.drop()
			}
			seat.Leave()
		}()
		done := e.watchDevice(t)
		err = done(p(ctx, t, seat))
		whole = true
		return err
	}
}

// use returns the base model of a job, loading it if it is not the one on the
// device. The caller says done when it needs it no more.
func (e *Engine) use(ctx context.Context, name string) (l *loaded, done func(), err error) {
	print := ""
	if p, ok := e.Bases.(Printer); ok {
		print = p.Print(name)
	}
	if e.loaded == nil || e.loaded.name != name || e.loaded.print != print {
		e.drop()
		if e.loaded, err = e.open(ctx, name, print); err != nil {
			return nil, nil, err
		}
	}
	l = e.loaded
	l.users++
	return l, func() {
		if l.users--; l.users == 0 && l != e.loaded {
			l.release()
		}
	}, nil
}

func (e *Engine) open(ctx context.Context, name, print string) (*loaded, error) {
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
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[string]seenBase{}
	}
	e.seen[name] = seenBase{limits, m.VAEConfig().Factor()}
	return &loaded{name: name, print: print, base: b, model: m, layers: generate.Layers(name, m), sets: newSetCache(maxSets), limits: limits, noPreviews: e.NoPreviews}, nil
}

// drop lets go of the base on the device: at once, or when the last program that
// runs on it ends.
func (e *Engine) drop() {
	l := e.loaded
	e.loaded = nil
	if l != nil && l.users == 0 {
		l.release()
	}
}

func (l *loaded) release() {
	defer func() {
		if l.broken {
			_ = recover() // what cannot be given back is lost; the panic before says why
		}
	}()
	l.sets.clear()
	l.model.Release()
	l.base.Close()
}

// Release gives back what the engine holds on the device. No program may run.
func (e *Engine) Release() { e.drop() }

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
