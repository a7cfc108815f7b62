package sampler

import "math"

// level is a point of a variance preserving schedule: x = alpha·x₀ + sigma·ε, lambda = ln(alpha/sigma).
type level struct{ alpha, sigma, lambda float64 }

// levelOf is the level of a sigma in k-diffusion's sense, the ratio of noise to signal. Sigma 0 has lambda +Inf.
func levelOf(ratio float64) level {
	alpha := 1 / math.Sqrt(ratio*ratio+1)
	return level{alpha, ratio * alpha, -math.Log(ratio)}
}

// levels are the schedule's points for the methods of DPM-Solver's family, the last one being where the last step goes
// to. It sets timesteps, sigmas, InitSigma and Start.
func (r *run) levels() ([]level, error) {
	var err error
	if r.Timesteps, err = spacedOpen(r.spacing("linspace"), r.last(), r.steps, r.config.StepsOffset); err != nil {
		return nil, err
	}
	r.InitSigma = 1
	if r.original {
		// It steps through the training schedule, and ends at its timestep 0.
		if err := r.trained(); err != nil {
			return nil, err
		}
		var points []level
		for _, t := range append(append([]float64(nil), r.Timesteps...), 0) {
			a := float64(r.schedule.AlphasCumprod[int(t)])
			alpha, sigma := math.Sqrt(a), math.Sqrt(1-a)
			points = append(points, level{alpha, sigma, math.Log(alpha) - math.Log(sigma)})
		}
		r.start(points)
		return points, nil
	}
	if r.config.ZeroSNR {
		r.schedule = r.schedule.withoutZero()
	}
	trained := r.schedule.sigmas()
	sigmas := make([]float64, len(r.Timesteps))
	for i, t := range r.Timesteps {
		sigmas[i] = interpolate(trained, t)
	}
	if r.config.KarrasSigmas {
		sigmas = karras(float64(trained[0]), float64(trained[len(trained)-1]), r.steps)
		for i, s := range sigmas {
			r.Timesteps[i] = timestepOf(s, trained)
			if r.config.BetaSchedule != "squaredcos_cap_v2" || r.Kind == UniPC {
				r.Timesteps[i] = math.RoundToEven(r.Timesteps[i])
			}
			r.Timesteps[i] = math.Trunc(r.Timesteps[i])
		}
	}
	if err := r.trained(); err != nil {
		return nil, err
	}
	end := float32(0)
	if r.config.FinalSigmas == "sigma_min" {
		end = trained[0]
		if r.Kind == UniPC && r.config.KarrasSigmas {
			end = float32(sigmas[len(sigmas)-1])
		}
	}
	r.setSigmas(sigmas, end)
	var points []level
	for _, s := range r.Sigmas {
		points = append(points, levelOf(float64(s)))
	}
	r.start(points)
	return points, nil
}

func (r *run) start(points []level) {
	r.Start = Mix{points[r.Skipped].alpha, points[r.Skipped].sigma}
}

// point is an evaluation at step i of the whole schedule.
func (r *run) point(i int, points []level) Eval {
	e := Eval{Timestep: r.Timesteps[i], InputScale: 1}
	switch {
	case r.original:
		e.Renoise = Mix{points[i].alpha, points[i].sigma}
	case i+1 < len(r.Timesteps):
		e.Renoise = Mix{points[i+1].alpha, points[i+1].sigma}
	default:
		e.Renoise = Mix{Clean: 1}
	}
	return e
}

// predicted is the update that puts x₀ as seen from step i into a register.
func (r *run) predicted(into Reg, at level) Update {
	if r.config.velocity() {
		return Update{into, []Term{{at.alpha, X}, {-at.sigma, M}}}
	}
	return Update{into, []Term{{1 / at.alpha, X}, {-at.sigma / at.alpha, M}}}
}

func orTrue(b *bool) bool { return b == nil || *b }

// planDPM is DPM-Solver++ 2M (Lu et al. 2022, algorithm 2). H(0) and H(1) hold predictions of x₀ in turn.
func planDPM(r *run) error {
	points, err := r.levels()
	if err != nil {
		return err
	}
	n := len(r.Timesteps)
	for i := r.Skipped; i < n; i++ {
		s, t := points[i], points[i+1]
		first := i == r.Skipped || r.config.SolverOrder == 1
		if i == n-1 {
			low := orTrue(r.config.LowerOrderFinal) && n < 15
			if !r.original {
				low = low || r.config.EulerAtFinal || r.config.FinalSigmas != "sigma_min"
			}
			first = first || low
		}
		now, before := H(i%2), H((i+1)%2)
		h := t.lambda - s.lambda
		k := -t.alpha * (math.Exp(-h) - 1)
		terms := []Term{{t.sigma / s.sigma, X}}
		if first {
			terms = append(terms, Term{k, now})
		} else {
			// Of the difference quotient over the step before; r0 is that step's length relative to this one's.
			r0 := (s.lambda - points[i-1].lambda) / h
			d := k / 2
			if r.config.SolverType == "heun" {
				d = t.alpha * ((math.Exp(-h)-1)/h + 1)
			}
			terms = append(terms, Term{k + d/r0, now}, Term{-d / r0, before})
		}
		e := r.point(i, points)
		e.Updates = []Update{r.predicted(now, s), {X, terms}}
		r.Evals = append(r.Evals, e)
	}
	r.Histories = 2
	return nil
}
