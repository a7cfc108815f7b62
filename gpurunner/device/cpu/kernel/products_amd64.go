//go:build !purego

package kernel

import "unsafe"

// dotBlock computes a block of DotRows. add is a mask of C's old value.
type dotBlock func(c, a, b *float32, k, cStride, aStride, bStride int, add uint32)

// dots is DotRows by blocks of rows×cols, and single rows and columns where
// those do not fit.
type dots struct {
	rows, cols                 int
	block, column, row, single dotBlock
}

var (
	dotsAVX2   = dots{3, 2, dot3x2AVX2, dot3x1AVX2, dot1x2AVX2, dot1x1AVX2}
	dotsAVX512 = dots{6, 4, dot6x4AVX512, dot6x1AVX512, dot1x4AVX512, dot1x1AVX512}
)

func (d *dots) dotRows(c []float32, cStride int, a []float32, aStride int, b []float32, bStride int, m, n, k int, accumulate bool) {
	if m <= 0 || n <= 0 {
		return
	}
	cp, ap, bp := grid(c, cStride, m, n), grid(a, aStride, m, k), grid(b, bStride, n, k)
	var add uint32
	if accumulate {
		add = 1<<32 - 1
	}
	for i := 0; i < m; {
		rows, wide, narrow := 1, d.row, d.single
		if m-i >= d.rows {
			rows, wide, narrow = d.rows, d.block, d.column
		}
		ai := at(ap, i*aStride)
		for j := 0; j < n; {
			cols, f := 1, narrow
			if n-j >= d.cols {
				cols, f = d.cols, wide
			}
			f(at(cp, i*cStride+j), ai, at(bp, j*bStride), k, 4*cStride, 4*aStride, 4*bStride, add)
			j += cols
		}
		i += rows
	}
}

// layouts is an instruction set's conversions, vectors of so many lanes.
type layouts struct {
	lanes                 int
	blocks                func(dst, src *float32, dstStride, srcStride, count int)
	blocks16              func(dst, src *uint16, dstStride, srcStride, count int)
	widenF16, widenBF16   func(dst *float32, src *uint16, n int)
	narrowF16, narrowBF16 func(dst *uint16, src *float32, n int)
	zipBF16               func(dst, a, b *float32, n int)
	zip16                 func(dst *float32, a, b *uint16, n int)
}

var (
	layoutsAVX2 = layouts{8, transposeBlocksAVX2, transposeBlocks16AVX2, widenF16AVX2, widenBF16AVX2,
		narrowF16AVX2, narrowBF16AVX2, zipBF16AVX2, zip16AVX2}
	layoutsAVX512 = layouts{16, transposeBlocksAVX512, transposeBlocks16AVX512, widenF16AVX512, widenBF16AVX512,
		narrowF16AVX512, narrowBF16AVX512, zipBF16AVX512, zip16AVX512}
)

func (l *layouts) install(s *Layouts) {
	s.Transpose = transposed(l.lanes, l.blocks, transposeGeneric[float32])
	s.Transpose16 = transposed(l.lanes, l.blocks16, transposeGeneric[uint16])
	s.WidenF16 = converted(l.lanes, l.widenF16, widenF16Generic)
	s.WidenBF16 = converted(l.lanes, l.widenBF16, widenBF16Generic)
	s.NarrowF16 = converted(l.lanes, l.narrowF16, narrowF16Generic)
	s.NarrowBF16 = converted(l.lanes, l.narrowBF16, narrowBF16Generic)
	s.ZipBF16 = zipped(l.lanes, l.zipBF16, zipBF16Generic)
	s.Zip16 = zipped(l.lanes, l.zip16, zip16Generic)
}

// transposed gives the square blocks to the assembly, the edges to Go.
func transposed[T float32 | uint16](lanes int, blocks func(dst, src *T, dstStride, srcStride, count int),
	edges func([]T, int, []T, int, int, int)) func(dst []T, dstStride int, src []T, srcStride, rows, cols int) {
	var element T
	size := int(unsafe.Sizeof(element))
	return func(dst []T, dstStride int, src []T, srcStride, rows, cols int) {
		if rows <= 0 || cols <= 0 {
			return
		}
		_, _ = src[(rows-1)*srcStride:][:cols], dst[(cols-1)*dstStride:][:rows]
		r, c := rows/lanes*lanes, cols/lanes*lanes
		if c > 0 {
			for i := 0; i < r; i += lanes {
				blocks(&dst[i], &src[i*srcStride], size*dstStride, size*srcStride, c/lanes)
			}
		}
		if r < rows {
			edges(dst[r:], dstStride, src[r*srcStride:], srcStride, rows-r, cols)
		}
		if c < cols && r > 0 {
			edges(dst[c*dstStride:], dstStride, src[c:], srcStride, r, cols-c)
		}
	}
}

// converted gives whole vectors to the assembly, the rest to Go.
func converted[D, S float32 | uint16](lanes int, vectors func(dst *D, src *S, n int), rest func(dst []D, src []S)) func(dst []D, src []S) {
	return func(dst []D, src []S) {
		src = src[:len(dst)]
		n := len(dst) / lanes * lanes
		if n > 0 {
			vectors(&dst[0], &src[0], n)
		}
		rest(dst[n:], src[n:])
	}
}

// zipped is converted for two sources.
func zipped[S float32 | uint16](lanes int, vectors func(dst *float32, a, b *S, n int), rest func(dst []float32, a, b []S)) func(dst []float32, a, b []S) {
	return func(dst []float32, a, b []S) {
		a, b = a[:len(dst)], b[:len(dst)]
		n := len(dst) / lanes * lanes
		if n > 0 {
			vectors(&dst[0], &a[0], &b[0], n)
		}
		if n < len(dst) {
			rest(dst[n:], a[n:], b[n:])
		}
	}
}
