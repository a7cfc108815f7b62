package cpu

import "math"

// Pages is where a device's memory comes from. The default maps anonymous
// memory outside the Go heap, which would keep up to twice what lives and zero
// it again on every reuse. Its methods may be called by several goroutines.
type Pages interface {
	// Map returns size bytes that are zero and 64-byte aligned.
	Map(size int) ([]byte, error)
	// Unmap gives back what Map returned.
	Unmap(p []byte)
}

// poison is what released memory is filled with in tests: as f32, f16 or bf16
// a NaN, as i32 an index that is out of every range.
const poison = 0xFF

// fill sets all bytes, large pieces by copying, which is faster.
func fill(p []byte, v byte) {
	const block = 1 << 14
	for i := range p[:min(len(p), block)] {
		p[i] = v
	}
	for n := block; n < len(p); n += block {
		copy(p[n:], p[:block])
	}
}

// hugePage is the size from which memory is asked for in large pages.
const hugePage = 2 << 20

func roundUp(n, to int) int {
	if n > math.MaxInt-to {
		return math.MaxInt / to * to
	}
	return (n + to - 1) / to * to
}
