package kernel

// transposeGeneric goes by blocks so that neither side strides through memory
// for long.
func transposeGeneric[T float32 | uint16](dst []T, dstStride int, src []T, srcStride, rows, cols int) {
	const block = 16
	for r0 := 0; r0 < rows; r0 += block {
		r1 := min(r0+block, rows)
		for c0 := 0; c0 < cols; c0 += block {
			c1 := min(c0+block, cols)
			for c := c0; c < c1; c++ {
				d := dst[c*dstStride+r0 : c*dstStride+r1]
				for i := range d {
					d[i] = src[(r0+i)*srcStride+c]
				}
			}
		}
	}
}

// PanelLen is the number of elements of the panels of a [N,K] matrix.
func PanelLen(n, k int) int { return (n + Panel - 1) / Panel * Panel * k }

// Pack turns a row-major src [n,k] (a weight, or the keys of attention) into
// panels dst [⌈n/32⌉][k][32], the B operand for products with srcᵀ. Missing
// columns of the last panel become zero.
func (s *Set) Pack(dst []float32, src []float32, srcStride, n, k int) {
	pack(s.Transpose, dst, src, srcStride, n, k)
}

// Pack16 is Pack of 16-bit elements.
func (s *Set) Pack16(dst []uint16, src []uint16, srcStride, n, k int) {
	pack(s.Transpose16, dst, src, srcStride, n, k)
}

func pack[T float32 | uint16](transpose func([]T, int, []T, int, int, int), dst, src []T, srcStride, n, k int) {
	for r := 0; r < n; r += Panel {
		rows := min(Panel, n-r)
		panel := dst[r*k : (r+Panel)*k]
		if rows < Panel {
			clear(panel)
		}
		transpose(panel, Panel, src[r*srcStride:], srcStride, rows, k)
	}
}

// PackRows turns a row-major src [k,n] into panels dst [⌈n/32⌉][k][32], the B
// operand for products with src itself. It is worth it for a src that is read
// often; else give MatMul the rows in place.
func PackRows[T float32 | uint16](dst []T, src []T, srcStride, k, n int) {
	for c := 0; c < n; c += Panel {
		cols := min(Panel, n-c)
		panel := dst[c*k : (c+Panel)*k]
		if cols < Panel {
			clear(panel)
		}
		for r := range k {
			copy(panel[r*Panel:r*Panel+cols], src[r*srcStride+c:])
		}
	}
}

// TransposePanel writes rows k0 … k0+31 (fewer at the end of K) of each of
// the panels [⌈n/32⌉][k][32] of a weight [n,k] to dst [n][32], a panel of the
// transposed weight: the B operand for backward, dx = dy·W. Missing columns
// become zero.
func (s *Set) TransposePanel(dst, panels []float32, n, k, k0 int) {
	cols := min(Panel, k-k0)
	if cols < Panel {
		clear(dst[:n*Panel])
	}
	for r := 0; r < n; r += Panel {
		rows := min(Panel, n-r)
		s.Transpose(dst[r*Panel:], Panel, panels[r*k+k0*Panel:], Panel, cols, rows)
	}
}
