package sampler

import (
	"math"
)

// The linear multistep weights of Liu et al. 2022, equation 12, newest first.
var multistep = [][]float64{{1}, {3. / 2, -1. / 2}, {23. / 12, -16. / 12, 5. / 12}, {55. / 24, -59. / 24, 37. / 24, -9. / 24}}

// planPNDM is the multistep part of PNDM (PLMS). H(0) to H(3) hold network outputs, H(4) the sample that the second
// evaluation goes back to.
func planPNDM(r *run) error {
	ascending, err := spaced(r.spacing("leading"), r.last(), r.steps, r.config.StepsOffset, true)
	if err != nil {
		return err
	}
	r.Timesteps = ascending
	if len(ascending) > 1 { // the second one comes twice
		r.Timesteps = append([]float64{ascending[0], ascending[1]}, ascending[1:]...)
	}
	if err := r.trained(); err != nil {
		return err
	}
	r.InitSigma = 1
	clean := float64(r.schedule.AlphasCumprod[0])
	if r.config.SetAlphaToOne != nil && *r.config.SetAlphaToOne {
		clean = 1
	}
	ratio := float64(r.config.TrainTimesteps / r.steps)
	kept := 0 // network outputs so far
	for i, t := range r.left() {
		e := Eval{Timestep: t, InputScale: 1}
		if i == 1 {
			// The same step once more, from where the first began, with the mean of both answers.
			x, m := r.transfer(t+ratio, t, clean)
			e.Updates = []Update{{X, []Term{{x, H(4)}, {m / 2, M}, {m / 2, H(0)}}}}
			r.Evals = append(r.Evals, e)
			continue
		}
		x, m := r.transfer(t, t-ratio, clean)
		weights := multistep[min(kept, 3)]
		terms := []Term{{x, X}, {m * weights[0], M}}
		for k, w := range weights[1:] {
			terms = append(terms, Term{m * w, H((kept - 1 - k) % 4)})
		}
		if i == 0 {
			e.Updates = append(e.Updates, Update{H(4), []Term{{1, X}}})
		}
		// The oldest output that the sum reads may live where the newest goes, so the sum comes first.
		e.Updates = append(e.Updates, Update{X, terms}, Update{H(kept % 4), []Term{{1, M}}})
		kept++
		r.Evals = append(r.Evals, e)
	}
	r.Histories = 5
	r.mixes()
	return nil
}

// transfer gives the weights of sample and network output in a step from timestep t to next (Liu et al. 2022, equation
// 9). Velocity makes noise of the output with the sample at t, so its weight moves in part to the sample.
func (r *run) transfer(t, next, clean float64) (x, m float64) {
	if t > float64(r.last()) {
		t = float64(r.last())
	}
	a, b := r.alpha(t, clean), r.alpha(next, clean)
	x = math.Sqrt(b / a)
	m = -(b - a) / (a*math.Sqrt(1-b) + math.Sqrt(a*(1-a)*b))
	if r.config.velocity() {
		return x + m*math.Sqrt(1-a), m * math.Sqrt(a)
	}
	return x, m
}
