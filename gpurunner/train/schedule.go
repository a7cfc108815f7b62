package train

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The learning rate schedules, after diffusers 0.11 optimization.py.
const (
	ScheduleLinear             = "linear"
	ScheduleCosine             = "cosine"
	ScheduleCosineWithRestarts = "cosine_with_restarts"
	SchedulePolynomial         = "polynomial"
	ScheduleConstant           = "constant"
	ScheduleConstantWithWarmup = "constant_with_warmup"
)

// Schedules lists the names of the schedules.
func Schedules() []string {
	return []string{ScheduleLinear, ScheduleCosine, ScheduleCosineWithRestarts, SchedulePolynomial, ScheduleConstant, ScheduleConstantWithWarmup}
}

// Rate is a learning rate that changes over a phase.
type Rate struct {
	Schedule string
	Base     float64 // the rate that the schedule scales
	Warmup   int     // steps
	Total    int     // steps
}

// At returns the rate at a step counted from 0. The schedule advances before
// the update, as in the original, so that step i has value i+1 of the schedule:
// a linear one never uses its first value and ends at 0.
func (r Rate) At(step int) float64 { return r.Base * r.factor(step+1) }

// factor is the schedule's value after n advances. "constant" has no warm-up,
// whatever is asked for.
func (r Rate) factor(n int) float64 {
	if r.Schedule == ScheduleConstant {
		return 1
	}
	if n < r.Warmup {
		return float64(n) / float64(max(1, r.Warmup))
	}
	progress := float64(n-r.Warmup) / float64(max(1, r.Total-r.Warmup))
	switch r.Schedule {
	case ScheduleLinear:
		return math.Max(0, float64(r.Total-n)/float64(max(1, r.Total-r.Warmup)))
	case ScheduleCosine:
		return math.Max(0, 0.5*(1+math.Cos(math.Pi*progress)))
	case ScheduleCosineWithRestarts: // one cycle, as the original asks for
		if progress >= 1 {
			return 0
		}
		return math.Max(0, 0.5*(1+math.Cos(math.Pi*math.Mod(progress, 1))))
	case SchedulePolynomial: // of power 1, down to 1e-7
		const end = 1e-7
		if r.Base <= end {
			return 1
		}
		if n > r.Total {
			return end / r.Base
		}
		return ((r.Base-end)*(1-progress) + end) / r.Base
	}
	return 1
}

func checkSchedule(option, name string) error {
	if !slices.Contains(Schedules(), name) {
		return fmt.Errorf("%s is %q; it must be one of %s", option, name, strings.Join(Schedules(), ", "))
	}
	return nil
}
