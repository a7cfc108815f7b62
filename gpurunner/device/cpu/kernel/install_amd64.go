//go:build !purego

package kernel

import "unsafe"

// install makes s use the assembly a.
func (a *assembly) install(s *Set) {
	a.arithmetic(&s.Arithmetic)
	a.activations(&s.Activations)
	a.reductions(&s.Reductions)
	a.norms(&s.Norms)
	s.AdamW = func(p, g, m, v []float32, h *AdamWStep) {
		a.adamW(ptr(p), ptr(g[:len(p)]), ptr(m[:len(p)]), ptr(v[:len(p)]), len(p), (*byte)(unsafe.Pointer(h)))
	}
}

func ptr(x []float32) *float32 { return unsafe.SliceData(x) }

// two, three and their kin check lengths and pass the pointers on.

func two(f func(y, x *float32, n int)) func(y, x []float32) {
	return func(y, x []float32) { f(ptr(y), ptr(x[:len(y)]), len(y)) }
}

func three(f func(y, a, b *float32, n int)) func(y, a, b []float32) {
	return func(y, a, b []float32) { f(ptr(y), ptr(a[:len(y)]), ptr(b[:len(y)]), len(y)) }
}

func scaled(f func(y, x *float32, n int, c float32)) func(y []float32, c float32, x []float32) {
	return func(y []float32, c float32, x []float32) { f(ptr(y), ptr(x[:len(y)]), len(y), c) }
}

func (a *assembly) arithmetic(s *Arithmetic) {
	s.Add = three(a.add)
	s.Mul = three(a.mul)
	s.MulAdd = three(a.mulAdd)
	s.Scale = scaled(a.scale)
	s.Axpy = scaled(a.axpy)
	combine := [...]func(y *float32, n int, terms *byte){2: a.combine2, 3: a.combine3, 4: a.combine4, 5: a.combine5}
	s.Combine = func(y []float32, terms []Term) {
		checkTerms(y, terms)
		if len(terms) == 1 {
			a.scale(ptr(y), ptr(terms[0].X), len(y), terms[0].C)
			return
		}
		combine[len(terms)](ptr(y), len(y), (*byte)(unsafe.Pointer(&terms[0])))
	}
}

// The offsets that combine2 … combine5 and adamW read.
var (
	_ [unsafe.Offsetof(Term{}.X) - 8]struct{}          = [0]struct{}{}
	_ [unsafe.Sizeof(Term{}) - 32]struct{}             = [0]struct{}{}
	_ [unsafe.Offsetof(AdamWStep{}.Rate) - 28]struct{} = [0]struct{}{}
)

func (a *assembly) activations(s *Activations) {
	s.Exp = two(a.exp)
	s.SiLU, s.SiLUBack = two(a.silu), three(a.siluBack)
	s.GELU, s.GELUBack = two(a.gelu), three(a.geluBack)
	s.GELUTanh, s.GELUTanhBack = two(a.geluTanh), three(a.geluTanhBack)
	s.QuickGELU, s.QuickGELUBack = two(a.quickGELU), three(a.quickGELUBack)
	s.GEGLU = three(a.geglu)
	s.GEGLUBack = func(dHidden, dGate, dy, hidden, gate []float32) {
		n := len(dHidden)
		a.gegluBack(ptr(dHidden), ptr(dGate[:n]), ptr(dy[:n]), ptr(hidden[:n]), ptr(gate[:n]), n)
	}
}

func (a *assembly) reductions(s *Reductions) {
	s.Sum = func(x []float32) float32 { return a.sum(ptr(x), len(x)) }
	s.SumSquares = func(x []float32) float32 { return a.dot(ptr(x), ptr(x), len(x)) }
	s.SumSquaresFrom = func(x []float32, mean float32) float32 { return a.sumSquaresFrom(ptr(x), len(x), mean) }
	s.Dot = func(x, y []float32) float32 { return a.dot(ptr(x), ptr(y[:len(x)]), len(x)) }
	s.Max = func(x []float32) float32 { return a.maximum(ptr(x), len(x)) }
	s.ExpSum = func(y, x []float32, scale, shift float32) float32 {
		return a.expSum(ptr(y), ptr(x[:len(y)]), len(y), scale, shift)
	}
	s.SoftmaxBack = func(dx, p, dp []float32, dot, scale float32) {
		a.softmaxBack(ptr(dx), ptr(p[:len(dx)]), ptr(dp[:len(dx)]), len(dx), dot, scale)
	}
}

func (a *assembly) norms(s *Norms) {
	s.Normalize = func(y, x []float32, mean, rstd float32, gamma, beta []float32) {
		n := len(y)
		a.normalize(ptr(y), ptr(x[:n]), ptr(gamma[:n]), ptr(beta[:n]), n, mean, rstd)
	}
	s.NormalizeBackSums = func(dy, x, gamma []float32, mean, rstd float32) (sum, sumX float32) {
		n := len(dy)
		return a.normalizeBackSums(ptr(dy), ptr(x[:n]), ptr(gamma[:n]), n, mean, rstd)
	}
	s.NormalizeBack = func(dx, dy, x, gamma []float32, mean, rstd, b, c float32) {
		n := len(dx)
		a.normalizeBack(ptr(dx), ptr(dy[:n]), ptr(x[:n]), ptr(gamma[:n]), n, mean, rstd, b, c)
	}
	s.NormalizeBackParams = func(dgamma, dbeta, dy, x []float32, mean, rstd float32) {
		n := len(dgamma)
		a.normalizeBackParams(ptr(dgamma), ptr(dbeta[:n]), ptr(dy[:n]), ptr(x[:n]), n, mean, rstd)
	}
	s.ColumnSums = func(sum, x []float32, xStride, rows int) {
		a.columnSums(ptr(sum), grid(x, xStride, rows, len(sum)), len(sum), 4*xStride, rows)
	}
	s.ColumnSquares = func(sum, mean, x []float32, xStride, rows int) {
		n := len(sum)
		a.columnSquares(ptr(sum), ptr(mean[:n]), grid(x, xStride, rows, n), n, 4*xStride, rows)
	}
	s.Affine, s.AffineSiLU = rowAffine(a.affine), rowAffine(a.affineSiLU)
	s.ColumnBackSums = func(c *ColumnNorm) {
		n, f := len(c.Mean), a.columnBackSums
		if c.SiLU {
			f = a.columnBackSumsSiLU
			_, _ = c.A[:n], c.B[:n]
		}
		f(ptr(c.Sum[:n]), ptr(c.SumX[:n]), grid(c.X, c.XStride, c.Rows, n), grid(c.DY, c.DYStride, c.Rows, n),
			ptr(c.Mean), ptr(c.Rstd[:n]), ptr(c.A), ptr(c.B), n, 4*c.XStride, 4*c.DYStride, c.Rows)
	}
	s.ColumnBack = func(c *ColumnNorm) {
		n, f := len(c.Mean), a.columnBack
		if c.Rows <= 0 {
			return
		}
		if c.SiLU {
			f = a.columnBackSiLU
			_, _ = c.A[:n], c.B[:n]
		}
		f(grid(c.DX, c.DXStride, c.Rows, n), grid(c.X, c.XStride, c.Rows, n), grid(c.DY, c.DYStride, c.Rows, n),
			ptr(c.Mean), ptr(c.P[:n]), ptr(c.Q[:n]), ptr(c.T[:n]), ptr(c.A), ptr(c.B),
			n, 4*c.DXStride, 4*c.XStride, 4*c.DYStride, c.Rows)
	}
}

func rowAffine(f func(y, x, a, b *float32, n, yStride, xStride, rows int)) func(y []float32, yStride int, x []float32, xStride int, a, b []float32, rows int) {
	return func(y []float32, yStride int, x []float32, xStride int, a, b []float32, rows int) {
		if n := len(a); rows > 0 {
			f(grid(y, yStride, rows, n), grid(x, xStride, rows, n), ptr(a), ptr(b[:n]), n, 4*yStride, 4*xStride, rows)
		}
	}
}

// grid checks that x holds rows rows of n elements.
func grid(x []float32, stride, rows, n int) *float32 {
	if rows > 0 {
		_ = x[(rows-1)*stride:][:n]
	}
	return ptr(x)
}
