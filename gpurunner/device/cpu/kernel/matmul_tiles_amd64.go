//go:build !purego

package kernel

import "unsafe"

// The offsets that the assembly reads. A wrong one does not compile.
var (
	_ [unsafe.Offsetof(Tile{}.CStride) - 8]struct{}     = [0]struct{}{}
	_ [unsafe.Offsetof(Tile{}.Row) - 32]struct{}        = [0]struct{}{}
	_ [unsafe.Offsetof(Tile{}.Accumulate) - 40]struct{} = [0]struct{}{}
	_ [unsafe.Offsetof(Tile{}.Segments) - 48]struct{}   = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.ARow) - 8]struct{}     = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.ACol) - 16]struct{}    = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.B) - 24]struct{}       = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.BRow) - 32]struct{}    = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.K) - 40]struct{}       = [0]struct{}{}
	_ [unsafe.Offsetof(Segment{}.Type) - 48]struct{}    = [0]struct{}{}
	_ [unsafe.Sizeof(Segment{}) - 56]struct{}           = [0]struct{}{}
)

func matMulAVX512(t *Tile) {
	p := (*byte)(unsafe.Pointer(t))
	for m, rows := range evenSplit(t.M, 14) {
		switch {
		case t.N == Panel:
			tiles32AVX512[rows-1](p, m)
		case t.N > 16:
			tiles32MaskedAVX512[rows-1](p, m, 1<<(t.N-16)-1)
		case t.N > 0:
			tiles16AVX512[rows-1](p, m, 1<<t.N-1)
		}
	}
}

func matMulAVX2(t *Tile) {
	p := (*byte)(unsafe.Pointer(t))
	for m, rows := range evenSplit(t.M, 6) {
		for col := 0; col < t.N; col += 16 {
			if t.N-col >= 16 {
				tiles16AVX2[rows-1](p, m, col)
			} else {
				tiles16MaskedAVX2[rows-1](p, m, col, &laneMask[16-(t.N-col)])
			}
		}
	}
}

// laneMask[16-n:] has n lanes set, then 16 that are not.
var laneMask = func() (m [32]int32) {
	for i := range 16 {
		m[i] = -1
	}
	return m
}()

// evenSplit cuts m rows into as few tiles of at most limit rows as possible,
// of about equal height: 64 rows are 13+13+13+13+12.
func evenSplit(m, limit int) func(yield func(first, rows int) bool) {
	return func(yield func(int, int) bool) {
		tiles := (m + limit - 1) / limit
		for first := 0; tiles > 0; tiles-- {
			rows := (m - first + tiles - 1) / tiles
			if !yield(first, rows) {
				return
			}
			first += rows
		}
	}
}

var tiles32AVX512 = [14]func(t *byte, m int){
	matMul1x32AVX512, matMul2x32AVX512, matMul3x32AVX512, matMul4x32AVX512, matMul5x32AVX512, matMul6x32AVX512, matMul7x32AVX512,
	matMul8x32AVX512, matMul9x32AVX512, matMul10x32AVX512, matMul11x32AVX512, matMul12x32AVX512, matMul13x32AVX512, matMul14x32AVX512,
}

var tiles32MaskedAVX512 = [14]func(t *byte, m int, mask uint32){
	matMul1x32MaskedAVX512, matMul2x32MaskedAVX512, matMul3x32MaskedAVX512, matMul4x32MaskedAVX512, matMul5x32MaskedAVX512,
	matMul6x32MaskedAVX512, matMul7x32MaskedAVX512, matMul8x32MaskedAVX512, matMul9x32MaskedAVX512, matMul10x32MaskedAVX512,
	matMul11x32MaskedAVX512, matMul12x32MaskedAVX512, matMul13x32MaskedAVX512, matMul14x32MaskedAVX512,
}

var tiles16AVX512 = [14]func(t *byte, m int, mask uint32){
	matMul1x16MaskedAVX512, matMul2x16MaskedAVX512, matMul3x16MaskedAVX512, matMul4x16MaskedAVX512, matMul5x16MaskedAVX512,
	matMul6x16MaskedAVX512, matMul7x16MaskedAVX512, matMul8x16MaskedAVX512, matMul9x16MaskedAVX512, matMul10x16MaskedAVX512,
	matMul11x16MaskedAVX512, matMul12x16MaskedAVX512, matMul13x16MaskedAVX512, matMul14x16MaskedAVX512,
}

var tiles16AVX2 = [6]func(t *byte, m, col int){
	matMul1x16AVX2, matMul2x16AVX2, matMul3x16AVX2, matMul4x16AVX2, matMul5x16AVX2, matMul6x16AVX2,
}

var tiles16MaskedAVX2 = [6]func(t *byte, m, col int, mask *int32){
	matMul1x16MaskedAVX2, matMul2x16MaskedAVX2, matMul3x16MaskedAVX2, matMul4x16MaskedAVX2, matMul5x16MaskedAVX2, matMul6x16MaskedAVX2,
}
