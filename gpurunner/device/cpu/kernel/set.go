package kernel

import (
	"os"
	"sync"
)

// Set is one implementation of every kernel. Its fields are functions, chosen
// once; the pointers passed to them escape, so callers keep a [Tile] and the
// like in memory of their own.
type Set struct {
	Name string // "generic", "avx2", "avx512"

	Products
	Layouts
	Arithmetic
	Activations
	Reductions
	Norms
	Winograd
	Training
}

// Products multiply matrices.
type Products struct {
	// Rows is the number of rows of C that one pass of MatMul holds in
	// registers. MatMul takes any M and splits it evenly; blocking loops best
	// hand it multiples of this.
	Rows int
	// MatMul computes one tile of C. See [Tile].
	MatMul func(t *Tile)
	// Peak runs rounds of multiply-adds on registers alone, the most that one
	// thread can do, and returns how many floating-point operations they are:
	// the yardstick of every benchmark. rounds ≤ 10000.
	Peak func(rounds int) (flops int)
	// DotRows computes c [m,n] = a [m,k] · b [n,k]ᵀ, or adds it to c, lanes
	// along k: the form for few columns n and a row-major b, such as a LoRA's
	// down factor. Strides are in elements. Per element the sum has 16 lanes
	// and a fixed tree.
	DotRows func(c []float32, cStride int, a []float32, aStride int, b []float32, bStride int, m, n, k int, accumulate bool)
}

// Layouts move and convert without arithmetic.
type Layouts struct {
	// Transpose writes dst[c·dstStride+r] = src[r·srcStride+c] for src
	// [rows,cols].
	Transpose func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int)
	// Transpose16 is Transpose of 16-bit elements.
	Transpose16 func(dst []uint16, dstStride int, src []uint16, srcStride, rows, cols int)
	// WidenF16 and WidenBF16 convert exactly.
	WidenF16, WidenBF16 func(dst []float32, src []uint16)
	// NarrowF16 and NarrowBF16 round to nearest even; NaN stays NaN.
	NarrowF16, NarrowBF16 func(dst []uint16, src []float32)
	// ZipBF16 joins two rows to one of pairs of bf16, a in the lower halves,
	// rounding to nearest even; Zip16 those of 16-bit elements.
	ZipBF16 func(dst, a, b []float32)
	Zip16   func(dst []float32, a, b []uint16)
}

// Arithmetic works element by element.
type Arithmetic struct {
	Add    func(y, a, b []float32)                   // y = a + b; also y += bias with a = y
	Mul    func(y, a, b []float32)                   // y = a·b
	MulAdd func(y, a, b []float32)                   // y += a·b, fused
	Scale  func(y []float32, c float32, x []float32) // y = c·x
	Axpy   func(y []float32, c float32, x []float32) // y += c·x, fused
	// Combine computes y = Σ c·x over one to five terms, in their order: the
	// first a product, the others fused. y may be one of the x.
	Combine func(y []float32, terms []Term)
}

// Term is one summand of Combine.
type Term struct {
	C float32
	X []float32
}

// Activations are pointwise functions f, y = f(x), and their backward forms,
// dx = f'(x)·dy. Every output may be any of the inputs.
type Activations struct {
	Exp func(y, x []float32)
	// SiLU is x·σ(x), GELU x·(1+erf(x/√2))/2, GELUTanh its tanh form and
	// QuickGELU x·σ(1.702x).
	SiLU, GELU, GELUTanh, QuickGELU                 func(y, x []float32)
	SiLUBack, GELUBack, GELUTanhBack, QuickGELUBack func(dx, dy, x []float32)
	// GEGLU computes y = hidden·GELU(gate).
	GEGLU func(y, hidden, gate []float32)
	// GEGLUBack computes dHidden = dy·GELU(gate), dGate = dy·hidden·GELU'(gate).
	GEGLUBack func(dHidden, dGate, dy, hidden, gate []float32)
}

// Reductions turn a slice into a number.
type Reductions struct {
	Sum        func(x []float32) float32
	SumSquares func(x []float32) float32
	// SumSquaresFrom is Σ(x−mean)².
	SumSquaresFrom func(x []float32, mean float32) float32
	Dot            func(x, y []float32) float32
	// Max is −Inf of nothing and unspecified where there is a NaN.
	Max func(x []float32) float32
	// ExpSum computes y = exp(scale·x − shift) and returns Σy: a row of
	// softmax, shift being scale times the row's maximum (scale > 0), or of
	// its recomputation in backward, shift being the row's log-sum-exp.
	ExpSum func(y, x []float32, scale, shift float32) float32
	// SoftmaxBack computes dx = scale·p·(dp−dot), dot being Σp·dp of the row.
	SoftmaxBack func(dx, p, dp []float32, dot, scale float32)
}

// Norms are pieces of layer and group normalisation. In layer norm a row is
// one reduction; in group norm the columns are lanes (channels) and a call
// covers a block of pixels.
type Norms struct {
	// Normalize computes y = (x−mean)·rstd·γ + β: layer norm of one row.
	Normalize func(y, x []float32, mean, rstd float32, gamma, beta []float32)
	// NormalizeBackSums returns Σ dy·γ and Σ dy·γ·x̂, x̂ = (x−mean)·rstd.
	NormalizeBackSums func(dy, x, gamma []float32, mean, rstd float32) (sum, sumX float32)
	// NormalizeBack computes dx = rstd·(dy·γ − a − x̂·b), a and b being the
	// means of what NormalizeBackSums sums.
	NormalizeBack func(dx, dy, x, gamma []float32, mean, rstd, a, b float32)
	// NormalizeBackParams adds dy·x̂ to dγ and dy to dβ.
	NormalizeBackParams func(dgamma, dbeta, dy, x []float32, mean, rstd float32)

	// ColumnSums adds x [rows, len(sum)], row by row, to sum.
	ColumnSums func(sum, x []float32, xStride, rows int)
	// ColumnSquares adds (x−mean)² to sum, all by column.
	ColumnSquares func(sum, mean, x []float32, xStride, rows int)
	// Affine computes y = a·x + b (fused), a and b [n] by column, x and y
	// [rows,n]; AffineSiLU applies SiLU to that.
	Affine, AffineSiLU func(y []float32, yStride int, x []float32, xStride int, a, b []float32, rows int)
	// ColumnBackSums and ColumnBack are group norm's backward. See
	// [ColumnNorm].
	ColumnBackSums, ColumnBack func(c *ColumnNorm)
}

// ColumnNorm is a block of group norm's backward over x and dy [Rows, N]; N
// is len(Mean). With z = A·x + B the block's output (before SiLU, where SiLU
// is set) and dz the gradient there:
//
//	ColumnBackSums: Sum += dz, SumX += dz·(x−Mean)·Rstd
//	ColumnBack:     dx = P·dz + (Q·(x−Mean) + T)
//
// For P = γ·rstd, T = −rstd·mean(dz·γ) and Q = −rstd²·mean(dz·γ·x̂) the
// latter is the gradient. Each function reads only what its line names, and A
// and B only with SiLU.
type ColumnNorm struct {
	X, DY, DX                   []float32
	XStride, DYStride, DXStride int
	Rows                        int
	SiLU                        bool
	Mean, Rstd, A, B, P, Q, T   []float32
	Sum, SumX                   []float32
}

// Training steps parameters and drops elements.
type Training struct {
	// AdamW steps one segment in place; m and v are its moments. See
	// [AdamWStep].
	AdamW func(p, g, m, v []float32, h *AdamWStep)
	// Philox fills dst with numbers first, first+1, … of a stream.
	Philox func(dst []uint32, d Draw, first uint64)
	// Dropout computes y[i] = x[i]·scale where number first+i of the stream is
	// at least threshold, else 0.
	Dropout func(y, x []float32, d Draw, first uint64, threshold uint32, scale float32)
}

// Lookup returns the set of that name, or nil if this machine or this build
// has none.
func Lookup(name string) *Set {
	for _, s := range All() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Best returns the fastest set, or the one that LOWRANK_CPU names if the
// machine has it.
func Best() *Set { return best() }

var best = sync.OnceValue(func() *Set {
	if s := Lookup(os.Getenv("LOWRANK_CPU")); s != nil {
		return s
	}
	all := All()
	return all[len(all)-1]
})

// All returns every set that this machine runs, slowest first; the first is
// the portable one.
func All() []*Set { return all() }

var all = sync.OnceValue(func() []*Set {
	return append([]*Set{generic()}, machineSets()...)
})

func generic() *Set {
	return &Set{
		Name: "generic",
		Products: Products{
			Rows:    4,
			Peak:    peakGeneric,
			MatMul:  matMulGeneric,
			DotRows: dotRowsGeneric,
		},
		Layouts: Layouts{
			Transpose:   transposeGeneric[float32],
			Transpose16: transposeGeneric[uint16],
			WidenF16:    widenF16Generic,
			WidenBF16:   widenBF16Generic,
			NarrowF16:   narrowF16Generic,
			NarrowBF16:  narrowBF16Generic,
			ZipBF16:     zipBF16Generic,
			Zip16:       zip16Generic,
		},
		Arithmetic: Arithmetic{
			Add:     addGeneric,
			Mul:     mulGeneric,
			MulAdd:  mulAddGeneric,
			Scale:   scaleGeneric,
			Axpy:    axpyGeneric,
			Combine: combineGeneric,
		},
		Activations: Activations{
			Exp:           expGeneric,
			SiLU:          siluGeneric,
			GELU:          geluGeneric,
			GELUTanh:      geluTanhGeneric,
			QuickGELU:     quickGELUGeneric,
			SiLUBack:      siluBackGeneric,
			GELUBack:      geluBackGeneric,
			GELUTanhBack:  geluTanhBackGeneric,
			QuickGELUBack: quickGELUBackGeneric,
			GEGLU:         gegluGeneric,
			GEGLUBack:     gegluBackGeneric,
		},
		Reductions: Reductions{
			Sum:            sumGeneric,
			SumSquares:     sumSquaresGeneric,
			SumSquaresFrom: sumSquaresFromGeneric,
			Dot:            dotGeneric,
			Max:            maxGeneric,
			ExpSum:         expSumGeneric,
			SoftmaxBack:    softmaxBackGeneric,
		},
		Norms: Norms{
			Normalize:           normalizeGeneric,
			NormalizeBackSums:   normalizeBackSumsGeneric,
			NormalizeBack:       normalizeBackGeneric,
			NormalizeBackParams: normalizeBackParamsGeneric,
			ColumnSums:          columnSumsGeneric,
			ColumnSquares:       columnSquaresGeneric,
			Affine:              affineGeneric,
			AffineSiLU:          affineSiLUGeneric,
			ColumnBackSums:      columnBackSumsGeneric,
			ColumnBack:          columnBackGeneric,
		},
		Winograd: Winograd{
			WinogradInput:   winogradInputGeneric,
			WinogradWeights: winogradWeightsGeneric,
			WinogradOutput:  winogradOutputGeneric,
		},
		Training: Training{
			AdamW:   adamWGeneric,
			Philox:  philoxGeneric,
			Dropout: dropoutGeneric,
		},
	}
}
