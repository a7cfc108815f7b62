package sampler

import "math"

// sigmaSchedule sets timesteps, sigmas, InitSigma and Start for the methods of k-diffusion, whose sample is
// latents + sigma·noise.
func (r *run) sigmaSchedule() error {
	var err error
	spacing := r.spacing("linspace")
	if r.Timesteps, err = spaced(spacing, r.last(), r.steps, r.config.StepsOffset, false); err != nil {
		return err
	}
	if r.config.ZeroSNR {
		r.schedule = r.schedule.withoutZero()
	}
	trained := r.schedule.sigmas()
	sigmas := make([]float64, len(r.Timesteps))
	for i, t := range r.Timesteps {
		if !r.original {
			t = float64(float32(t))
			r.Timesteps[i] = t
		}
		sigmas[i] = interpolate(trained, t)
	}
	if r.config.KarrasSigmas && !r.original && r.Kind != EulerAncestral {
		sigmas = karras(sigmas[len(sigmas)-1], sigmas[0], r.steps)
		for i, s := range sigmas {
			r.Timesteps[i] = float64(float32(timestepOf(s, trained)))
		}
	}
	end := float32(0)
	if r.config.FinalSigmas == "sigma_min" && r.Kind == Euler {
		end = trained[0]
	}
	r.setSigmas(sigmas, end)

	high := r.Sigmas[0]
	if r.original {
		high = trained[len(trained)-1]
	}
	r.InitSigma = float64(high)
	if spacing == "leading" {
		r.InitSigma = math.Sqrt(r.InitSigma*r.InitSigma + 1)
	}
	r.Start = Mix{1, float64(r.Sigmas[r.Skipped])}
	return nil
}

func (r *run) setSigmas(sigmas []float64, end float32) {
	for _, s := range sigmas {
		r.Sigmas = append(r.Sigmas, float32(s))
	}
	r.Sigmas = append(r.Sigmas, end)
}

// scaled is an evaluation at step i of the whole schedule, whose input is scaled to unit variance.
func (r *run) scaled(i int) Eval {
	s := float64(r.Sigmas[i])
	e := Eval{Timestep: r.Timesteps[i], InputScale: 1 / math.Sqrt(s*s+1), Renoise: Mix{1, float64(r.Sigmas[i+1])}}
	if r.original {
		e.Renoise.Noise = s
	} else if i+1 == len(r.Timesteps) {
		e.Renoise.Noise = 0
	}
	return e
}

// derivative gives dx/dσ = x·X + m·M at a sigma (Karras et al. 2022; for velocity with its scalings).
func (r *run) derivative(sigma float64) (x, m float64) {
	if r.config.velocity() {
		return sigma / (sigma*sigma + 1), 1 / math.Sqrt(sigma*sigma+1)
	}
	return 0, 1
}

// planEuler is Euler's method in sigma.
func planEuler(r *run) error {
	if err := r.sigmaSchedule(); err != nil {
		return err
	}
	for i := r.Skipped; i < len(r.Timesteps); i++ {
		s, next := float64(r.Sigmas[i]), float64(r.Sigmas[i+1])
		x, m := r.derivative(s)
		e := r.scaled(i)
		e.Updates = []Update{{X, []Term{{1 + x*(next-s), X}, {m * (next - s), M}}}}
		if r.original {
			e.Draws = 1 // drawn for a churn of 0
		}
		r.Evals = append(r.Evals, e)
	}
	return nil
}

// planEulerAncestral goes down to less than the next sigma, and adds noise up to it.
func planEulerAncestral(r *run) error {
	if err := r.sigmaSchedule(); err != nil {
		return err
	}
	for i := r.Skipped; i < len(r.Timesteps); i++ {
		s, next := r.Sigmas[i], r.Sigmas[i+1]
		// In float32, as there: where next is far below s, down comes out of a difference that cancels.
		s2, next2 := float32(s*s), float32(next*next)
		up := sqrt32(float32(float32(next2*float32(s2-next2)) / s2))
		down := sqrt32(float32(next2 - float32(up*up)))
		dt := float64(float32(down - s))
		x, m := r.derivative(float64(s))
		e := r.scaled(i)
		e.Draws = 1
		e.Updates = []Update{{X, []Term{{1 + x*dt, X}, {m * dt, M}, {float64(up), N}}}}
		r.Evals = append(r.Evals, e)
	}
	return nil
}

// planLMS is linear multistep in sigma, of order 4. H(0) to H(3) hold derivatives.
func planLMS(r *run) error {
	if err := r.sigmaSchedule(); err != nil {
		return err
	}
	for i := r.Skipped; i < len(r.Timesteps); i++ {
		x, m := r.derivative(float64(r.Sigmas[i]))
		order := min(i+1, 4)
		terms := []Term{{1, X}}
		// In the middle of a schedule there are fewer derivatives than the order says; the rest is left out.
		for k := 0; k < order && k <= i-r.Skipped; k++ {
			terms = append(terms, Term{lagrange(r.Sigmas, i, order, k), H((i - r.Skipped - k) % 4)})
		}
		e := r.scaled(i)
		e.Updates = []Update{{H((i - r.Skipped) % 4), trim([]Term{{x, X}, {m, M}})}, {X, terms}}
		r.Evals = append(r.Evals, e)
	}
	r.Histories = 4
	return nil
}

// trim leaves out terms that are 0.
func trim(terms []Term) []Term {
	kept := terms[:0]
	for _, t := range terms {
		if t.Coef != 0 {
			kept = append(kept, t)
		}
	}
	return kept
}

// lagrange integrates, from sigma i to i+1, the polynomial that is 1 at sigma i-k and 0 at the other ones of the last
// order. The cubic is integrated exactly by two Gauss–Legendre points.
func lagrange(sigmas []float32, i, order, k int) float64 {
	a, b := float64(sigmas[i]), float64(sigmas[i+1])
	at := func(tau float64) float64 {
		product := 1.0
		for j := range order {
			if j != k {
				product *= (tau - float64(sigmas[i-j])) / (float64(sigmas[i-k]) - float64(sigmas[i-j]))
			}
		}
		return product
	}
	mid, half := (a+b)/2, (b-a)/2
	offset := half / math.Sqrt(3)
	return half * (at(mid-offset) + at(mid+offset))
}
