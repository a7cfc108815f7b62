package lora

// kron is the shapes of a LoKr layer: W = w1 ⊗ w2, w1 [a,b] and w2 [c,d,kk],
// each whole or a product of factors of rank r1, r2 (0 where whole).
type kron struct {
	a, b, c, d, kk int
	r1, r2         int
	tucker         bool
}

func (l *layer) kron(s *source) (k kron, bad role) {
	shape := func(r role) []int { return s.shape(l.keys[r]) }
	m := l.module
	k.kk = max(1, m.Kernel*m.Kernel)
	if l.keys["lokr_w1"] != "" {
		if !isMatrix(shape("lokr_w1"), -1, -1) {
			return k, "lokr_w1"
		}
		k.a, k.b = shape("lokr_w1")[0], shape("lokr_w1")[1]
	} else {
		if !isMatrix(shape("lokr_w1_a"), -1, -1) {
			return k, "lokr_w1_a"
		}
		k.a, k.r1 = shape("lokr_w1_a")[0], shape("lokr_w1_a")[1]
		if !isMatrix(shape("lokr_w1_b"), k.r1, -1) {
			return k, "lokr_w1_b"
		}
		k.b = shape("lokr_w1_b")[1]
	}
	if m.Out%k.a != 0 || m.In%k.b != 0 {
		return k, sorted(l.keys)[0]
	}
	k.c, k.d = m.Out/k.a, m.In/k.b
	if l.keys["lokr_w2"] != "" {
		w2 := shape("lokr_w2")
		if !(isMatrix(w2, k.c, k.d*k.kk) || isKernel(w2, k.c, k.d, max(1, m.Kernel))) {
			return k, "lokr_w2"
		}
		return k, ""
	}
	wb := shape("lokr_w2_b")
	if len(wb) == 0 || wb[0] < 1 {
		return k, "lokr_w2_b"
	}
	k.r2 = wb[0]
	if l.keys["lokr_t2"] != "" {
		k.tucker = true
		switch {
		case !isMatrix(shape("lokr_w2_a"), k.r2, k.c):
			return k, "lokr_w2_a"
		case !isMatrix(wb, k.r2, k.d):
			return k, "lokr_w2_b"
		case !isKernel(shape("lokr_t2"), k.r2, k.r2, max(1, m.Kernel)):
			return k, "lokr_t2"
		}
		return k, ""
	}
	if !isMatrix(shape("lokr_w2_a"), k.c, k.r2) {
		return k, "lokr_w2_a"
	}
	if !isMatrix(wb, k.r2, k.d*k.kk) {
		return k, "lokr_w2_b"
	}
	return k, ""
}

func (l *layer) checkLoKr(s *source, b *Base) error {
	need := []role{"lokr_w1"}
	if l.keys["lokr_w1"] == "" {
		need = []role{"lokr_w1_a", "lokr_w1_b"}
	}
	if l.keys["lokr_w2"] == "" {
		need = append(need, "lokr_w2_a", "lokr_w2_b")
	} else {
		need = append(need, "lokr_w2")
	}
	if _, err := l.need(s, need...); err != nil {
		return err
	}
	if _, bad := l.kron(s); bad != "" {
		return s.mismatch("key %q has shape %v, whose Kronecker product is not the %v of %s of %s",
			shorten(l.keys[bad]), s.shape(l.keys[bad]), l.module.want(l.module.Out), l.module, b.describe())
	}
	return nil
}

func (l *layer) loadLoKr(s *source, a *Adapter, budget *expanded) (rank int, err error) {
	k, _ := l.kron(s)
	cols := k.d * k.kk
	var w1, left, right []float32 // w2 = left [c,r]·right [r,d·kk]
	if k.r1 == 0 {
		w, err := l.read(s, "lokr_w1")
		if err != nil {
			return 0, err
		}
		w1 = w[0]
	} else {
		w, err := l.read(s, "lokr_w1_a", "lokr_w1_b")
		if err != nil {
			return 0, err
		}
		w1 = matmul(w[0], w[1], k.a, k.r1, k.b)
	}
	inner := k.r2
	switch {
	case k.r2 == 0:
		w, err := l.read(s, "lokr_w2")
		if err != nil {
			return 0, err
		}
		if l.module.Kernel <= 1 && k.d < k.c {
			inner, left, right = k.d, w[0], identity(k.d)
		} else {
			inner, left, right = k.c, identity(k.c), w[0]
		}
	case k.tucker:
		w, err := l.read(s, "lokr_w2_a", "lokr_w2_b", "lokr_t2")
		if err != nil {
			return 0, err
		}
		left, right = transpose(w[0], k.r2, k.c), tuckerDown(w[2], w[1], k.r2, k.d, k.kk)
	default:
		w, err := l.read(s, "lokr_w2_a", "lokr_w2_b")
		if err != nil {
			return 0, err
		}
		left, right = w[0], w[1]
	}
	// W[(i,p),(j,q)] = w1[i,j]·Σₛ left[p,s]·right[s,q]; the pairs (j,s) or (i,s) are
	// the ranks, whichever are fewer.
	a.Rank = min(k.a, k.b) * inner
	if err := budget.take(s, l.module, a.Rank); err != nil {
		return 0, err
	}
	width := k.b * cols
	a.Up, a.Down = make([]float32, l.module.Out*a.Rank), make([]float32, a.Rank*width)
	for i := range k.a {
		for j := range k.b {
			x, c := w1[i*k.b+j], j
			if k.a < k.b {
				c = i
			}
			for t := range inner {
				col := c*inner + t
				f, g := x, float32(1)
				if k.a < k.b {
					f, g = 1, x
				}
				for p := range k.c {
					a.Up[(i*k.c+p)*a.Rank+col] = f * left[p*inner+t]
				}
				for q := range cols {
					a.Down[col*width+j*cols+q] = g * right[t*cols+q]
				}
			}
		}
	}
	if k.r1 == 0 && k.r2 == 0 {
		return 0, nil // LyCORIS then has scale 1, whatever alpha says
	}
	if k.r2 > 0 {
		return k.r2, nil
	}
	return k.r1, nil
}
