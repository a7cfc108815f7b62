package sampler

import "math"

// planUniPC is UniPC of order 2 on predictions of x₀ (Zhao et al. 2023). H(0) to H(2) hold predictions in turn, H(3) the
// sample of the step before, as corrected.
func planUniPC(r *run) error {
	points, err := r.levels()
	if err != nil {
		return err
	}
	highest := 2
	if r.config.SolverOrder == 1 {
		highest = 1
	}
	n, order := len(r.Timesteps), 0
	for i := r.Skipped; i < n; i++ {
		now, before, older := H(i%3), H((i+2)%3), H((i+1)%3)
		e := r.point(i, points)
		// The prediction is made from the sample before it is corrected.
		e.Updates = []Update{r.predicted(now, points[i])}
		if i > r.Skipped {
			e.Updates = append(e.Updates, r.corrected(points, i, order, now, before, older))
		}
		order = min(highest, i-r.Skipped+1)
		if orTrue(r.config.LowerOrderFinal) {
			order = min(order, n-i)
		}
		e.Updates = append(e.Updates, Update{H(3), []Term{{1, X}}}, r.forward(points, i, order, now, before))
		r.Evals = append(r.Evals, e)
	}
	r.Histories = 4
	return nil
}

// phi gives the weights of the linear part of a step over h in lambda: e^-h - 1, B(h), and the right-hand sides b₁, b₂
// (Zhao et al. 2023, equation 10).
func (r *run) phi(h float64) (expm1, bh, b1, b2 float64) {
	hh := -h
	expm1 = math.Expm1(hh)
	bh = expm1
	if r.config.SolverType == "bh1" {
		bh = hh
	}
	phi := expm1/hh - 1
	b1 = phi / bh
	phi = phi/hh - 0.5
	b2 = 2 * phi / bh
	return
}

// forward predicts the sample at step i+1.
func (r *run) forward(points []level, i, order int, now, before Reg) Update {
	s, t := points[i], points[i+1]
	h := t.lambda - s.lambda
	expm1, bh, _, _ := r.phi(h)
	terms := []Term{{t.sigma / s.sigma, X}, {-t.alpha * expm1, now}}
	if order == 2 {
		d := -t.alpha * bh * 0.5 / ((points[i-1].lambda - s.lambda) / h)
		terms[1].Coef -= d
		terms = append(terms, Term{d, before})
	}
	return Update{X, terms}
}

// corrected makes the sample at step i again, with what the network said there.
func (r *run) corrected(points []level, i, order int, now, before, older Reg) Update {
	s, t := points[i-1], points[i]
	h := t.lambda - s.lambda
	expm1, bh, b1, b2 := r.phi(h)
	w := -t.alpha * bh
	if order == 1 {
		return Update{X, []Term{{t.sigma / s.sigma, H(3)}, {-t.alpha*expm1 - w*0.5, before}, {w * 0.5, now}}}
	}
	ratio := (points[i-2].lambda - s.lambda) / h
	// The two by two system of the order conditions.
	rho1 := (b1 - b2) / (1 - ratio)
	rho2 := b1 - rho1
	d := w * rho1 / ratio
	return Update{X, []Term{{t.sigma / s.sigma, H(3)}, {-t.alpha*expm1 - d - w*rho2, before}, {d, older}, {w * rho2, now}}}
}
