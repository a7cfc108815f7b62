//go:build !purego

package kernel

// assembly is one instruction set's raw functions. install turns them into
// those of a Set, with the same checks for every instruction set.
type assembly struct {
	add                 func(y, a, b *float32, n int)
	mul                 func(y, a, b *float32, n int)
	mulAdd              func(y, a, b *float32, n int)
	scale               func(y, x *float32, n int, c float32)
	axpy                func(y, x *float32, n int, c float32)
	combine2            func(y *float32, n int, terms *byte)
	combine3            func(y *float32, n int, terms *byte)
	combine4            func(y *float32, n int, terms *byte)
	combine5            func(y *float32, n int, terms *byte)
	exp                 func(y, x *float32, n int)
	silu                func(y, x *float32, n int)
	gelu                func(y, x *float32, n int)
	geluTanh            func(y, x *float32, n int)
	quickGELU           func(y, x *float32, n int)
	siluBack            func(dx, dy, x *float32, n int)
	geluBack            func(dx, dy, x *float32, n int)
	geluTanhBack        func(dx, dy, x *float32, n int)
	quickGELUBack       func(dx, dy, x *float32, n int)
	geglu               func(y, hidden, gate *float32, n int)
	gegluBack           func(dHidden, dGate, dy, hidden, gate *float32, n int)
	sum                 func(x *float32, n int) (ret float32)
	dot                 func(x, y *float32, n int) (ret float32)
	sumSquaresFrom      func(x *float32, n int, mean float32) (ret float32)
	maximum             func(x *float32, n int) (ret float32)
	expSum              func(y, x *float32, n int, scale, shift float32) (ret float32)
	softmaxBack         func(dx, p, dp *float32, n int, dot, scale float32)
	normalize           func(y, x, gamma, beta *float32, n int, mean, rstd float32)
	normalizeBackSums   func(dy, x, gamma *float32, n int, mean, rstd float32) (sum, sumX float32)
	normalizeBack       func(dx, dy, x, gamma *float32, n int, mean, rstd, a, b float32)
	normalizeBackParams func(dgamma, dbeta, dy, x *float32, n int, mean, rstd float32)
	columnSums          func(sum, x *float32, n, xStride, rows int)
	columnSquares       func(sum, mean, x *float32, n, xStride, rows int)
	affine              func(y, x, a, b *float32, n, yStride, xStride, rows int)
	affineSiLU          func(y, x, a, b *float32, n, yStride, xStride, rows int)
	columnBackSums      func(sum, sumX, x, dy, mean, rstd, a, b *float32, n, xStride, dyStride, rows int)
	columnBack          func(dx, x, dy, mean, p, q, t, a, b *float32, n, dxStride, xStride, dyStride, rows int)
	columnBackSumsSiLU  func(sum, sumX, x, dy, mean, rstd, a, b *float32, n, xStride, dyStride, rows int)
	columnBackSiLU      func(dx, x, dy, mean, p, q, t, a, b *float32, n, dxStride, xStride, dyStride, rows int)
	adamW               func(p, grad, m, v *float32, n int, step *byte)
}

var assemblyAVX2 = assembly{
	add:                 addAVX2,
	mul:                 mulAVX2,
	mulAdd:              mulAddAVX2,
	scale:               scaleAVX2,
	axpy:                axpyAVX2,
	combine2:            combine2AVX2,
	combine3:            combine3AVX2,
	combine4:            combine4AVX2,
	combine5:            combine5AVX2,
	exp:                 expAVX2,
	silu:                siluAVX2,
	gelu:                geluAVX2,
	geluTanh:            geluTanhAVX2,
	quickGELU:           quickGELUAVX2,
	siluBack:            siluBackAVX2,
	geluBack:            geluBackAVX2,
	geluTanhBack:        geluTanhBackAVX2,
	quickGELUBack:       quickGELUBackAVX2,
	geglu:               gegluAVX2,
	gegluBack:           gegluBackAVX2,
	sum:                 sumAVX2,
	dot:                 dotAVX2,
	sumSquaresFrom:      sumSquaresFromAVX2,
	maximum:             maximumAVX2,
	expSum:              expSumAVX2,
	softmaxBack:         softmaxBackAVX2,
	normalize:           normalizeAVX2,
	normalizeBackSums:   normalizeBackSumsAVX2,
	normalizeBack:       normalizeBackAVX2,
	normalizeBackParams: normalizeBackParamsAVX2,
	columnSums:          columnSumsAVX2,
	columnSquares:       columnSquaresAVX2,
	affine:              affineAVX2,
	affineSiLU:          affineSiLUAVX2,
	columnBackSums:      columnBackSumsAVX2,
	columnBack:          columnBackAVX2,
	columnBackSumsSiLU:  columnBackSumsSiLUAVX2,
	columnBackSiLU:      columnBackSiLUAVX2,
	adamW:               adamWAVX2,
}

var assemblyAVX512 = assembly{
	add:                 addAVX512,
	mul:                 mulAVX512,
	mulAdd:              mulAddAVX512,
	scale:               scaleAVX512,
	axpy:                axpyAVX512,
	combine2:            combine2AVX512,
	combine3:            combine3AVX512,
	combine4:            combine4AVX512,
	combine5:            combine5AVX512,
	exp:                 expAVX512,
	silu:                siluAVX512,
	gelu:                geluAVX512,
	geluTanh:            geluTanhAVX512,
	quickGELU:           quickGELUAVX512,
	siluBack:            siluBackAVX512,
	geluBack:            geluBackAVX512,
	geluTanhBack:        geluTanhBackAVX512,
	quickGELUBack:       quickGELUBackAVX512,
	geglu:               gegluAVX512,
	gegluBack:           gegluBackAVX512,
	sum:                 sumAVX512,
	dot:                 dotAVX512,
	sumSquaresFrom:      sumSquaresFromAVX512,
	maximum:             maximumAVX512,
	expSum:              expSumAVX512,
	softmaxBack:         softmaxBackAVX512,
	normalize:           normalizeAVX512,
	normalizeBackSums:   normalizeBackSumsAVX512,
	normalizeBack:       normalizeBackAVX512,
	normalizeBackParams: normalizeBackParamsAVX512,
	columnSums:          columnSumsAVX512,
	columnSquares:       columnSquaresAVX512,
	affine:              affineAVX512,
	affineSiLU:          affineSiLUAVX512,
	columnBackSums:      columnBackSumsAVX512,
	columnBack:          columnBackAVX512,
	columnBackSumsSiLU:  columnBackSumsSiLUAVX512,
	columnBackSiLU:      columnBackSiLUAVX512,
	adamW:               adamWAVX512,
}
