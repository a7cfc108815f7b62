package sampler

import "math"

// planDDIM follows Song et al. 2020, equation 12, with eta 0.
func planDDIM(r *run) error {
	var err error
	if r.Timesteps, err = spaced(r.spacing("leading"), r.last(), r.steps, r.config.StepsOffset, true); err != nil {
		return err
	}
	if err := r.trained(); err != nil {
		return err
	}
	r.InitSigma = 1
	clean := 1.0
	if r.config.SetAlphaToOne != nil && !*r.config.SetAlphaToOne {
		clean = float64(r.schedule.AlphasCumprod[0])
	}
	for _, t := range r.left() {
		a := r.alpha(t, clean)
		next := r.alpha(t-float64(r.config.TrainTimesteps/r.steps), clean)
		x, m := originalSample(a, r.config.velocity())
		ex, em := noise(a, r.config.velocity())
		s, n := math.Sqrt(next), math.Sqrt(1-next)
		r.Evals = append(r.Evals, Eval{Timestep: t, InputScale: 1,
			Updates: []Update{{X, []Term{{s*x + n*ex, X}, {s*m + n*em, M}}}}})
	}
	r.mixes()
	return nil
}

// originalSample gives x₀ = x·X + m·M at a cumulative alpha.
func originalSample(a float64, velocity bool) (x, m float64) {
	if velocity {
		return math.Sqrt(a), -math.Sqrt(1 - a)
	}
	return 1 / math.Sqrt(a), -math.Sqrt(1-a) / math.Sqrt(a)
}

// noise gives ε = x·X + m·M at a cumulative alpha.
func noise(a float64, velocity bool) (x, m float64) {
	if velocity {
		return math.Sqrt(1 - a), math.Sqrt(a)
	}
	return 0, 1
}
