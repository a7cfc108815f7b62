package sampler

import "math"

// planDDPM follows Ho et al. 2020, equations 6 and 7.
func planDDPM(r *run) error {
	if r.original {
		// Every ratio-th timestep, as many as there are: 3 steps are 4 timesteps.
		ratio := r.config.TrainTimesteps / r.steps
		for t := r.last() / ratio * ratio; t >= 0; t -= ratio {
			r.Timesteps = append(r.Timesteps, float64(t))
		}
	} else {
		var err error
		if r.Timesteps, err = spaced(r.spacing("leading"), r.last(), r.steps, r.config.StepsOffset, true); err != nil {
			return err
		}
	}
	if err := r.trained(); err != nil {
		return err
	}
	r.InitSigma = 1
	ts := r.left()
	for i, t := range ts {
		next := -1.0
		switch {
		case r.original:
			next = t - 1
		case i+1 < len(ts):
			next = ts[i+1]
		}
		r.Evals = append(r.Evals, r.ancestral(t, next))
	}
	r.mixes()
	return nil
}

// ancestral is one DDPM step from timestep t to next; below 0 is a clean sample.
func (r *run) ancestral(t, next float64) Eval {
	a, b := r.alpha(t, 1), r.alpha(next, 1)
	// In float32, as there: between neighbouring timesteps beta is a difference that cancels.
	alpha := float64(float32(a / b))
	beta := float64(float32(1 - alpha))
	if r.original { // read from the table, where float32 has rounded them
		beta = float64(r.schedule.Betas[int(t)])
		alpha = float64(1 - r.schedule.Betas[int(t)])
	}
	x, m := originalSample(a, r.config.velocity())
	c0 := math.Sqrt(b) * beta / (1 - a)
	cx := math.Sqrt(alpha) * (1 - b) / (1 - a)
	e := Eval{Timestep: t, InputScale: 1}
	terms := []Term{{c0*x + cx, X}, {c0 * m, M}}
	if t > 0 {
		// The lower bound is there to allow a logarithm; it leaves a noise of 1e-10 in the last step.
		variance := math.Max((1-b)/(1-a)*beta, 1e-20)
		if r.config.VarianceType == "fixed_large" {
			variance = beta
		}
		e.Draws = 1
		terms = append(terms, Term{math.Sqrt(variance), N})
	}
	e.Updates = []Update{{X, terms}}
	return e
}
