//go:build !purego

package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// machinePairs returns what the processor and its operating system run.
func machinePairs() (sets []*Pairs) {
	if len(machineSets()) < 2 { // no AVX-512
		return nil
	}
	if cpu.X86.HasAVX512BF16 {
		sets = append(sets, &Pairs{
			Name:   "avx512bf16",
			MatMul: matMulPairs,
			Peak:   func(rounds int) int { pairPeak(rounds); return rounds * 28 * 16 * 4 },
		})
	}
	if cpu.X86.HasAMXTile && cpu.X86.HasAMXBF16 && tilesEnabled() && permitTiles() {
		configs := newTileConfigs()
		sets = append(sets, &Pairs{
			Name:   "amx",
			MatMul: configs.matMul,
			Peak: func(rounds int) int {
				tilePeak(rounds, configs.of(32, 32))
				return rounds * 4 * 16 * 16 * 32 * 2
			},
		})
	}
	return sets
}

// tilesEnabled asks the processor whether the system keeps the state of tiles:
// bits 17 and 18 of XCR0.
func tilesEnabled() bool {
	const tiles = 1<<17 | 1<<18
	return xgetbv()&tiles == tiles
}

func matMulPairs(t *Tile) {
	p := (*byte)(unsafe.Pointer(t))
	for m, rows := range evenSplit(t.M, 14) {
		switch {
		case t.N == Panel:
			pairs32[rows-1](p, m)
		case t.N > 16:
			pairs32Masked[rows-1](p, m, 1<<(t.N-16)-1)
		case t.N > 0:
			pairs16[rows-1](p, m, 1<<t.N-1)
		}
	}
}

var (
	pairs32 = [...]func(t *byte, m int){matMulPairs1x32AVX512, matMulPairs2x32AVX512, matMulPairs3x32AVX512,
		matMulPairs4x32AVX512, matMulPairs5x32AVX512, matMulPairs6x32AVX512, matMulPairs7x32AVX512, matMulPairs8x32AVX512,
		matMulPairs9x32AVX512, matMulPairs10x32AVX512, matMulPairs11x32AVX512, matMulPairs12x32AVX512,
		matMulPairs13x32AVX512, matMulPairs14x32AVX512}
	pairs32Masked = [...]func(t *byte, m int, mask uint32){matMulPairs1x32MaskedAVX512, matMulPairs2x32MaskedAVX512,
		matMulPairs3x32MaskedAVX512, matMulPairs4x32MaskedAVX512, matMulPairs5x32MaskedAVX512, matMulPairs6x32MaskedAVX512,
		matMulPairs7x32MaskedAVX512, matMulPairs8x32MaskedAVX512, matMulPairs9x32MaskedAVX512, matMulPairs10x32MaskedAVX512,
		matMulPairs11x32MaskedAVX512, matMulPairs12x32MaskedAVX512, matMulPairs13x32MaskedAVX512, matMulPairs14x32MaskedAVX512}
	pairs16 = [...]func(t *byte, m int, mask uint32){matMulPairs1x16MaskedAVX512, matMulPairs2x16MaskedAVX512,
		matMulPairs3x16MaskedAVX512, matMulPairs4x16MaskedAVX512, matMulPairs5x16MaskedAVX512, matMulPairs6x16MaskedAVX512,
		matMulPairs7x16MaskedAVX512, matMulPairs8x16MaskedAVX512, matMulPairs9x16MaskedAVX512, matMulPairs10x16MaskedAVX512,
		matMulPairs11x16MaskedAVX512, matMulPairs12x16MaskedAVX512, matMulPairs13x16MaskedAVX512, matMulPairs14x16MaskedAVX512}
)

// tileConfigs are the palettes of all shapes of C: rows by columns, each up to
// two tiles of 16.
type tileConfigs [2 * 16][Panel][64]byte

func newTileConfigs() *tileConfigs {
	var all tileConfigs
	for m := range all {
		for n := range all[m] {
			c := &all[m][n]
			c[0] = 1 // the palette
			set := func(tile, rows, cols int) {
				c[16+2*tile], c[48+tile] = byte(4*cols), byte(rows) // the columns' number has two bytes
			}
			heights, widths := [2]int{min(m+1, 16), max(m+1-16, 0)}, [2]int{min(n+1, 16), max(n+1-16, 0)}
			for i := range 2 {
				for j := range 2 {
					if heights[i] > 0 && widths[j] > 0 {
						set(2*i+j, heights[i], widths[j])
					}
				}
				if heights[i] > 0 {
					set(4+i, heights[i], PairStep)
				}
				if widths[i] > 0 {
					set(6+i, PairStep, widths[i])
				}
			}
		}
	}
	return &all
}

func (c *tileConfigs) of(m, n int) *byte { return &c[m-1][n-1][0] }

func (c *tileConfigs) matMul(t *Tile) {
	if t.N <= 0 {
		return
	}
	p := (*byte)(unsafe.Pointer(t))
	one, two := tiles1x1, tiles2x1
	if t.N > 16 {
		one, two = tiles1x2, tiles2x2
	}
	const both = 32
	full, rest := t.M/both, t.M%both
	if full > 0 {
		two(p, 0, full, c.of(both, t.N))
	}
	switch {
	case rest > 16:
		two(p, full*both, 1, c.of(rest, t.N))
	case rest > 0:
		one(p, full*both, 1, c.of(rest, t.N))
	}
}
