package kernel

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// side says which unmapped page an operand lies flush against, so that a
// kernel that reads or writes one element too many dies instead of passing.
type side int

const (
	before side = iota // the page before the first element
	after              // the page after the last element
)

func (s side) String() string { return [...]string{"before", "after"}[s] }

// flush returns n elements flush against an unmapped page. The memory is
// unmapped when the test ends.
func flush[T any](t testing.TB, s side, n int) []T {
	var v T
	size := n * int(unsafe.Sizeof(v))
	mem := guardedPages(t, size) // whole pages between two unmapped ones
	p := unsafe.Pointer(unsafe.SliceData(mem))
	if s == after {
		p = unsafe.Add(p, len(mem)-size)
	}
	return unsafe.Slice((*T)(p), n)
}

// normals fills x with normal numbers.
func normals(r *rand.Rand, x []float32) []float32 {
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}
