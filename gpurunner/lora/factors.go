package lora

import (
	"math"
	"slices"
)

// isMatrix reports whether shape is [a,b], where a convolution's [a,b,1,1] counts
// as well. A negative number stands for any.
func isMatrix(shape []int, a, b int) bool {
	if len(shape) == 4 && shape[2] == 1 && shape[3] == 1 {
		shape = shape[:2]
	}
	return len(shape) == 2 && shape[0] > 0 && shape[1] > 0 && (a < 0 || shape[0] == a) && (b < 0 || shape[1] == b)
}

func isKernel(shape []int, a, b, k int) bool {
	return slices.Equal(shape, []int{a, b, k, k}) && a > 0 && b > 0
}

// want describes the shape that a down factor of m has.
func (m *Module) want(r int) []int {
	if m.Kernel > 1 {
		return []int{r, m.In, m.Kernel, m.Kernel}
	}
	return []int{r, m.In}
}

// check compares the layer's shapes with its module's.
func (l *layer) check(s *source, b *Base) error {
	for _, r := range []role{alpha, scale} {
		if key := l.keys[r]; key != "" && s.info[key].Len() != 1 {
			return s.fail("tensor %q has shape %v, not one element", shorten(key), s.shape(key))
		}
	}
	switch name, _ := l.algorithm(); name {
	case "LoRA":
		return l.checkLoRA(s, b)
	case loha:
		return l.checkLoHa(s, b)
	case lokr:
		return l.checkLoKr(s, b)
	case full:
		return l.checkFull(s, b)
	case "":
		return s.fail("has %q, but no factors for %s", shorten(l.keys[sorted(l.keys)[0]]), l.module)
	}
	return nil // refused later, when all such are counted
}

// need returns the shapes of roles, which must all be there.
func (l *layer) need(s *source, roles ...role) ([][]int, error) {
	var shapes [][]int
	for _, r := range roles {
		key := l.keys[r]
		if key == "" {
			other := l.keys[sorted(l.keys)[0]]
			return nil, s.fail("%s has no %s: only %q and the like are there", l.module, r, shorten(other))
		}
		shapes = append(shapes, s.shape(key))
	}
	return shapes, nil
}

func (l *layer) wrong(s *source, b *Base, r role, want ...int) error {
	key, m := l.keys[r], l.module
	return s.mismatch("key %q has shape %v, but %s of %s needs %v", shorten(key), s.shape(key), m, b.describe(), want)
}

func (l *layer) checkLoRA(s *source, b *Base) error {
	shapes, err := l.need(s, down, up)
	if err != nil {
		return err
	}
	d, u, m := shapes[0], shapes[1], l.module
	if len(d) == 0 || d[0] < 1 {
		return s.fail("tensor %q has the impossible shape %v", shorten(l.keys[down]), d)
	}
	r := d[0]
	ok := isMatrix(d, r, m.In)
	if core := l.keys[mid]; core != "" {
		if k := max(1, m.Kernel); ok && !isKernel(s.shape(core), r, r, k) {
			return l.wrong(s, b, mid, r, r, k, k)
		}
	} else if m.Kernel > 1 {
		ok = isKernel(d, r, m.In, m.Kernel)
	}
	if !ok {
		return l.wrong(s, b, down, m.want(r)...)
	}
	if !isMatrix(u, m.Out, -1) {
		return l.wrong(s, b, up, m.Out, r)
	}
	if u[1] != r {
		return s.fail("%q has rank %d and %q rank %d", shorten(l.keys[down]), r, shorten(l.keys[up]), u[1])
	}
	return nil
}

// load reads the layer's numbers and makes an adapter of them.
func (l *layer) load(s *source, budget *expanded) (Adapter, error) {
	a := Adapter{Module: l.module}
	var rank int // the one that alpha is divided by; 0 where it is not
	var err error
	switch name, _ := l.algorithm(); name {
	case loha:
		rank, err = l.loadLoHa(s, &a, budget)
	case lokr:
		rank, err = l.loadLoKr(s, &a, budget)
	case full:
		err = l.loadFull(s, &a, budget)
	default:
		rank, err = l.loadLoRA(s, &a)
	}
	if err != nil {
		return a, err
	}
	a.Scale, err = l.scaleFor(s, rank)
	return a, err
}

func (l *layer) loadLoRA(s *source, a *Adapter) (rank int, err error) {
	if a.Down, err = s.floats(l.keys[down]); err != nil {
		return 0, err
	}
	if a.Up, err = s.floats(l.keys[up]); err != nil {
		return 0, err
	}
	a.Rank = s.shape(l.keys[down])[0]
	if l.keys[mid] == "" {
		return a.Rank, nil
	}
	// LoCon's Tucker form: the core is merged into down,
	// down'[m,j,k,l] = Σₙ core[m,n,k,l]·down[n,j].
	core, err := s.floats(l.keys[mid])
	if err != nil {
		return 0, err
	}
	a.Down = tuckerDown(core, a.Down, a.Rank, l.module.In, max(1, l.module.Kernel*l.module.Kernel))
	return a.Rank, nil
}

// tuckerDown contracts core [r,r,kk] with down [r,in] to [r,in,kk].
func tuckerDown(core, down []float32, r, in, kk int) []float32 {
	out := make([]float32, r*in*kk)
	for m := range r {
		for n := range r {
			c := core[(m*r+n)*kk : (m*r+n+1)*kk]
			for j, d := range down[n*in : (n+1)*in] {
				for k, v := range c {
					out[(m*in+j)*kk+k] += v * d
				}
			}
		}
	}
	return out
}

// scaleFor follows the rule of the field: a scale that is stated, else alpha/rank,
// else what the metadata say, else 1.
func (l *layer) scaleFor(s *source, rank int) (float32, error) {
	value := 1.0
	switch {
	case l.keys[scale] != "":
		v, err := s.scalar(l.keys[scale])
		if err != nil {
			return 0, err
		}
		value = v
	case rank == 0:
	case l.keys[alpha] != "":
		v, err := s.scalar(l.keys[alpha])
		if err != nil {
			return 0, err
		}
		value = v / float64(rank)
	case l.metaAlpha != 0:
		value = l.metaAlpha / float64(rank)
		if l.rootRank {
			value = l.metaAlpha / math.Sqrt(float64(rank))
		}
	}
	if !finite(value) || math.Abs(value) > math.MaxFloat32 {
		return 0, s.fail("the scale of %s is %v", l.module, value)
	}
	return float32(value), nil
}
