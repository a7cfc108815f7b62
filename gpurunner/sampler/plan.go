package sampler

import (
	"fmt"
	"math"
)

// Reg is a register of a plan: a tensor of the sample's shape.
type Reg int

// The registers that every plan has. History is H(0), H(1), …
const (
	X Reg = iota // the sample
	M            // what the network answered
	N            // fresh unit noise
	firstHistory
)

// H is history register i.
func H(i int) Reg { return firstHistory + Reg(i) }

// History returns i of H(i), and whether the register is one.
func (r Reg) History() (int, bool) { return int(r - firstHistory), r >= firstHistory }

func (r Reg) String() string {
	if i, ok := r.History(); ok {
		return fmt.Sprintf("H%d", i)
	}
	return [...]string{"X", "M", "N"}[r]
}

// Term is a number times a register.
type Term struct {
	Coef float64
	Reg  Reg
}

// Update sets a register to a sum. Its terms read the values from before it.
type Update struct {
	Dst   Reg
	Terms []Term
}

// Mix weighs clean latents and unit noise.
type Mix struct{ Clean, Noise float64 }

// Eval is one evaluation of the network and what follows from it.
type Eval struct {
	Timestep   float64 // what the network is told; float32 precision
	InputScale float64 // the network reads X times this
	Draws      int     // how often unit noise is drawn after the network has answered: 0, or 1 into N
	Updates    []Update
	// Renoise makes the latents that an inpainting blends in outside the mask after this evaluation, from the original's
	// latents and the noise that it was started with.
	Renoise Mix
}

// Plan is a whole sampling run.
type Plan struct {
	Kind Kind
	// InitSigma times unit noise is the first sample of text→image.
	InitSigma float64
	// Start makes the first sample of image→image from latents and unit noise.
	Start Mix
	// Histories is the number of history registers.
	Histories int
	Evals     []Eval
	// Timesteps and Sigmas are the whole schedule, also the part that a strength below 1 leaves out. Sigmas ends with the
	// sigma that the last step goes to, and is nil for methods that step in alpha.
	Timesteps []float64
	Sigmas    []float32
	// Skipped is the number of timesteps that the strength leaves out.
	Skipped int
}

// Options of New.
type Options struct {
	// Strength in (0, 1] starts image→image and inpainting where that share of the steps is left; 0 is text→image.
	Strength float64
	// Original gives the schedules of diffusers 0.11.1.
	Original bool
}

// MaxSteps bounds the number of steps.
const MaxSteps = 1000

// New plans a run of the method over steps. Errors: an unknown method (lists the names), steps outside 1 to MaxSteps or
// more than the model's training timesteps, a strength that leaves no step, and a configuration that is not
// supported.
func New(kind Kind, c Config, steps int, o Options) (*Plan, error) {
	if _, err := ParseKind(string(kind)); err != nil {
		return nil, err
	}
	if kind == KarrasDPM {
		c.KarrasSigmas = true
	}
	schedule, err := NewSchedule(c)
	if err != nil {
		return nil, err
	}
	if steps < 1 || steps > min(MaxSteps, c.TrainTimesteps) {
		return nil, fmt.Errorf("number of inference steps is %d; it must lie between 1 and %d", steps, min(MaxSteps, c.TrainTimesteps))
	}
	if o.Strength < 0 || o.Strength > 1 || math.IsNaN(o.Strength) {
		return nil, fmt.Errorf("strength is %v; it must lie between 0 and 1", o.Strength)
	}
	skip := 0
	if o.Strength > 0 {
		// Truncated, as there: 100 steps at 0.29 are 28.
		skip = steps - int(float64(steps)*o.Strength)
		if skip == steps {
			return nil, fmt.Errorf("strength %v of %d steps leaves no step to run; raise one of them", o.Strength, steps)
		}
	}
	r := &run{Plan: Plan{Kind: kind, Skipped: skip}, config: c, schedule: schedule, steps: steps, original: o.Original}
	plan := map[Kind]func(*run) error{
		DDIM: planDDIM, PNDM: planPNDM, DDPM: planDDPM, LMS: planLMS, Euler: planEuler, EulerAncestral: planEulerAncestral,
		DPMMultistep: planDPM, KarrasDPM: planDPM, UniPC: planUniPC,
	}[kind]
	if err := plan(r); err != nil {
		return nil, err
	}
	if err := r.finite(); err != nil {
		return nil, err
	}
	return &r.Plan, nil
}

// run is a plan in the making.
type run struct {
	Plan
	config   Config
	schedule *Schedule
	steps    int
	original bool
}

// spacing is the configured spacing of timesteps or the method's own. 0.11.1 knew only the latter.
func (r *run) spacing(own string) string {
	if r.config.TimestepSpacing == "" || r.original {
		return own
	}
	return r.config.TimestepSpacing
}

func (r *run) last() int { return r.config.TrainTimesteps - 1 }

// left are the timesteps from the start on.
func (r *run) left() []float64 { return r.Timesteps[min(r.Skipped, len(r.Timesteps)):] }

// trained sees to it that every timestep is one of training: those methods read the schedule there.
func (r *run) trained() error {
	for _, t := range r.Timesteps {
		if t < 0 || t > float64(r.last()) {
			return fmt.Errorf("%s with %d steps asks for timestep %v, but the model has 0 to %d; use fewer steps", r.Kind, r.steps, t, r.last())
		}
	}
	if len(r.left()) == 0 {
		return fmt.Errorf("%s has no timestep left after skipping %d", r.Kind, r.Skipped)
	}
	return nil
}

// alpha is ᾱ at a timestep; below 0 it is the value that stands for a clean sample.
func (r *run) alpha(t float64, clean float64) float64 {
	if t < 0 {
		return clean
	}
	return float64(r.schedule.AlphasCumprod[int(t)])
}

// mixes sets Start and Renoise for the methods whose noise levels are those of training timesteps.
func (r *run) mixes() {
	at := func(t float64) Mix {
		clean, noise := r.schedule.AddNoise(int(t))
		return Mix{clean, noise}
	}
	ts := r.left()
	r.Start = at(ts[0])
	for i := range r.Evals {
		switch {
		case r.original:
			r.Evals[i].Renoise = at(ts[i])
		case i+1 < len(ts):
			r.Evals[i].Renoise = at(ts[i+1])
		default:
			r.Evals[i].Renoise = Mix{Clean: 1}
		}
	}
}

// finite refuses coefficients that are infinite or not numbers: two equal timesteps in a row under a multistep method, or
// noise prediction where the schedule has no signal.
func (r *run) finite() error {
	for i, e := range r.Evals {
		for _, u := range e.Updates {
			for _, t := range u.Terms {
				if math.IsNaN(t.Coef) || math.IsInf(t.Coef, 0) {
					return fmt.Errorf("%s with %d steps has no finite coefficients at step %d (timestep %v); use fewer steps or another scheduler", r.Kind, r.steps, i+1, e.Timestep)
				}
			}
		}
	}
	return nil
}
