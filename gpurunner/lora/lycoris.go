package lora

// LyCORIS' algorithms (https://github.com/KohakuBlueleaf/LyCORIS): LoHa is a
// product element by element of two low-rank matrices, LoKr a Kronecker
// product. Both are exactly products of two factors of a larger rank, which is
// what they are turned into.

// expanded counts the numbers that such factors may still have.
type expanded int64

// maxExpanded is 2 GiB in float32.
const maxExpanded = 512 << 20

func (e *expanded) take(s *source, m *Module, rank int) error {
	*e -= expanded(int64(rank) * int64(m.Out+m.inputs()))
	if *e < 0 {
		return s.fail("written out as factors, its LoHa, LoKr or full matrices take more than %d GiB; merge it into a base model instead", maxExpanded>>28)
	}
	return nil
}

func (l *layer) checkLoHa(s *source, b *Base) error {
	shapes, err := l.need(s, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
	if err != nil {
		return err
	}
	m := l.module
	tucker := l.keys["hada_t1"] != "" || l.keys["hada_t2"] != ""
	for i, half := range []string{"hada_w1", "hada_w2"} {
		wa, wb := shapes[2*i], shapes[2*i+1]
		a, bKey := role(half+"_a"), role(half+"_b")
		if len(wb) == 0 || wb[0] < 1 {
			return s.fail("tensor %q has the impossible shape %v", shorten(l.keys[bKey]), wb)
		}
		r := wb[0]
		if tucker {
			core := role([]string{"hada_t1", "hada_t2"}[i])
			if _, err := l.need(s, core); err != nil {
				return err
			}
			switch k := max(1, m.Kernel); {
			case !isMatrix(wa, r, m.Out):
				return l.wrong(s, b, a, r, m.Out)
			case !isMatrix(wb, r, m.In):
				return l.wrong(s, b, bKey, r, m.In)
			case !isKernel(s.shape(l.keys[core]), r, r, k):
				return l.wrong(s, b, core, r, r, k, k)
			}
			continue
		}
		if !isMatrix(wa, m.Out, r) {
			return l.wrong(s, b, a, m.Out, r)
		}
		if !isMatrix(wb, r, m.inputs()) {
			return l.wrong(s, b, bKey, r, m.inputs())
		}
	}
	return nil
}

func (l *layer) loadLoHa(s *source, a *Adapter, budget *expanded) (rank int, err error) {
	m := l.module
	w, err := l.read(s, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
	if err != nil {
		return 0, err
	}
	r1, r2 := s.shape(l.keys["hada_w1_b"])[0], s.shape(l.keys["hada_w2_b"])[0]
	k := m.inputs()
	if l.keys["hada_t1"] != "" {
		t, err := l.read(s, "hada_t1", "hada_t2")
		if err != nil {
			return 0, err
		}
		if err := budget.take(s, m, m.Out); err != nil {
			return 0, err
		}
		kk := max(1, m.Kernel*m.Kernel)
		// W[p,r,…] = Σᵢⱼ a[i,p]·t[i,j,…]·b[j,r]
		first := matmul(transpose(w[0], r1, m.Out), tuckerDown(t[0], w[1], r1, m.In, kk), m.Out, r1, k)
		second := matmul(transpose(w[2], r2, m.Out), tuckerDown(t[1], w[3], r2, m.In, kk), m.Out, r2, k)
		for i := range first {
			first[i] *= second[i]
		}
		a.dense(first)
		return r1, nil
	}
	if int64(r1)*int64(r2) >= int64(min(m.Out, k)) {
		if err := budget.take(s, m, min(m.Out, k)); err != nil {
			return 0, err
		}
		first, second := matmul(w[0], w[1], m.Out, r1, k), matmul(w[2], w[3], m.Out, r2, k)
		for i := range first {
			first[i] *= second[i]
		}
		a.dense(first)
		return r1, nil
	}
	// (Σᵢ uᵢvᵢ)·(Σⱼ xⱼyⱼ) = Σᵢⱼ (uᵢxⱼ)(vᵢyⱼ): rank r1·r2.
	a.Rank = r1 * r2
	if err := budget.take(s, m, a.Rank); err != nil {
		return 0, err
	}
	a.Up, a.Down = make([]float32, m.Out*a.Rank), make([]float32, a.Rank*k)
	for i := range r1 {
		for j := range r2 {
			c := i*r2 + j
			for n := range m.Out {
				a.Up[n*a.Rank+c] = w[0][n*r1+i] * w[2][n*r2+j]
			}
			for n := range k {
				a.Down[c*k+n] = w[1][i*k+n] * w[3][j*k+n]
			}
		}
	}
	return r1, nil
}

func (l *layer) checkFull(s *source, b *Base) error {
	m, shape := l.module, s.shape(l.keys["diff"])
	if m.Kernel > 1 && !isKernel(shape, m.Out, m.In, m.Kernel) || m.Kernel <= 1 && !isMatrix(shape, m.Out, m.In) {
		want := m.want(m.Out)
		return l.wrong(s, b, "diff", want...)
	}
	return nil
}

func (l *layer) loadFull(s *source, a *Adapter, budget *expanded) error {
	if err := budget.take(s, l.module, min(l.module.Out, l.module.inputs())); err != nil {
		return err
	}
	w, err := l.read(s, "diff")
	if err != nil {
		return err
	}
	a.dense(w[0])
	return nil
}

func (l *layer) read(s *source, roles ...role) ([][]float32, error) {
	var out [][]float32
	for _, r := range roles {
		v, err := s.floats(l.keys[r])
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// dense makes factors of a whole matrix [Out,inputs]: itself and an identity.
func (a *Adapter) dense(w []float32) {
	m := a.Module
	if m.Kernel <= 1 && m.In < m.Out {
		a.Rank, a.Up, a.Down = m.In, w, identity(m.In)
		return
	}
	a.Rank, a.Up, a.Down = m.Out, identity(m.Out), w
}

func identity(n int) []float32 {
	w := make([]float32, n*n)
	for i := range n {
		w[i*n+i] = 1
	}
	return w
}

func transpose(w []float32, rows, cols int) []float32 {
	t := make([]float32, len(w))
	for i := range rows {
		for j := range cols {
			t[j*rows+i] = w[i*cols+j]
		}
	}
	return t
}

// matmul is a [m,k] times b [k,n].
func matmul(a, b []float32, m, k, n int) []float32 {
	c := make([]float32, m*n)
	for i := range m {
		row := c[i*n : (i+1)*n]
		for l := range k {
			x := a[i*k+l]
			for j, y := range b[l*n : (l+1)*n] {
				row[j] += x * y
			}
		}
	}
	return c
}
