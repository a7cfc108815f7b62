package kernel

func normalizeGeneric(y, x []float32, mean, rstd float32, gamma, beta []float32) {
	x, gamma, beta = x[:len(y)], gamma[:len(y)], beta[:len(y)]
	for i := range y {
		y[i] = float32((x[i]-mean)*rstd*gamma[i]) + beta[i]
	}
}

func normalizeBackSumsGeneric(dy, x, gamma []float32, mean, rstd float32) (sum, sumX float32) {
	x, gamma = x[:len(dy)], gamma[:len(dy)]
	var s, sx [16]float32
	for i := range dy {
		g := float32(dy[i] * gamma[i])
		s[i&15] += g
		sx[i&15] += float32(g * ((x[i] - mean) * rstd))
	}
	return tree(s[:]), tree(sx[:])
}

func normalizeBackGeneric(dx, dy, x, gamma []float32, mean, rstd, a, b float32) {
	dy, x, gamma = dy[:len(dx)], x[:len(dx)], gamma[:len(dx)]
	for i := range dx {
		xn := (x[i] - mean) * rstd
		g := float32(dy[i]*gamma[i]) - a
		dx[i] = (g - float32(xn*b)) * rstd
	}
}

func normalizeBackParamsGeneric(dgamma, dbeta, dy, x []float32, mean, rstd float32) {
	dbeta, dy, x = dbeta[:len(dgamma)], dy[:len(dgamma)], x[:len(dgamma)]
	for i := range dgamma {
		dgamma[i] += float32(dy[i] * ((x[i] - mean) * rstd))
		dbeta[i] += dy[i]
	}
}

func columnSumsGeneric(sum, x []float32, xStride, rows int) {
	for r := range rows {
		row := x[r*xStride:][:len(sum)]
		for c, v := range row {
			sum[c] += v
		}
	}
}

func columnSquaresGeneric(sum, mean, x []float32, xStride, rows int) {
	mean = mean[:len(sum)]
	for r := range rows {
		row := x[r*xStride:][:len(sum)]
		for c, v := range row {
			d := v - mean[c]
			sum[c] += float32(d * d)
		}
	}
}

func affineGeneric(y []float32, yStride int, x []float32, xStride int, a, b []float32, rows int) {
	b = b[:len(a)]
	for r := range rows {
		src, dst := x[r*xStride:][:len(a)], y[r*yStride:][:len(a)]
		for c, v := range src {
			dst[c] = float32(a[c]*v) + b[c]
		}
	}
}

func affineSiLUGeneric(y []float32, yStride int, x []float32, xStride int, a, b []float32, rows int) {
	b = b[:len(a)]
	for r := range rows {
		src, dst := x[r*xStride:][:len(a)], y[r*yStride:][:len(a)]
		for c, v := range src {
			dst[c] = silu32(float32(a[c]*v) + b[c])
		}
	}
}

func columnBackSumsGeneric(n *ColumnNorm) {
	cols := len(n.Mean)
	for r := range n.Rows {
		x, dy := n.X[r*n.XStride:][:cols], n.DY[r*n.DYStride:][:cols]
		for c, v := range x {
			dz := n.dz(c, v, dy[c])
			n.Sum[c] += dz
			n.SumX[c] += float32(dz * ((v - n.Mean[c]) * n.Rstd[c]))
		}
	}
}

func columnBackGeneric(n *ColumnNorm) {
	cols := len(n.Mean)
	for r := range n.Rows {
		x, dy := n.X[r*n.XStride:][:cols], n.DY[r*n.DYStride:][:cols]
		dx := n.DX[r*n.DXStride:][:cols]
		for c, v := range x {
			dz := n.dz(c, v, dy[c])
			t := float32(n.Q[c]*(v-n.Mean[c])) + n.T[c]
			dx[c] = float32(n.P[c]*dz) + t
		}
	}
}

// dz is the gradient before the activation.
func (n *ColumnNorm) dz(c int, x, dy float32) float32 {
	if !n.SiLU {
		return dy
	}
	return dy * siluSlope32(float32(n.A[c]*x)+n.B[c])
}
