//go:build !purego

package kernel

import "unsafe"

// counters is an instruction set's Philox, so many blocks of four at once.
type counters struct {
	lanes   int
	philox  func(dst *uint32, blocks int, draw *byte, first uint32)
	dropout func(y, x *float32, blocks int, draw *byte, first, threshold uint32, scale float32)
}

var (
	countersAVX2   = counters{8, philoxAVX2, dropoutAVX2}
	countersAVX512 = counters{16, philoxAVX512, dropoutAVX512}
)

// The offset of the counter that the assembly reads.
var _ [unsafe.Offsetof(Draw{}.Counter) - 8]struct{} = [0]struct{}{}

func (c *counters) install(s *Training) {
	s.Philox = func(dst []uint32, d Draw, first uint64) {
		head, blocks := c.split(len(dst), first)
		philoxGeneric(dst[:head], d, first)
		if blocks > 0 {
			c.philox(&dst[head], blocks, (*byte)(unsafe.Pointer(&d)), uint32((first+uint64(head))/4))
		}
		done := head + 4*blocks
		philoxGeneric(dst[done:], d, first+uint64(done))
	}
	s.Dropout = func(y, x []float32, d Draw, first uint64, threshold uint32, scale float32) {
		x = x[:len(y)]
		head, blocks := c.split(len(y), first)
		dropoutGeneric(y[:head], x, d, first, threshold, scale)
		if blocks > 0 {
			c.dropout(&y[head], &x[head], blocks, (*byte)(unsafe.Pointer(&d)), uint32((first+uint64(head))/4), threshold, scale)
		}
		done := head + 4*blocks
		dropoutGeneric(y[done:], x[done:], d, first+uint64(done), threshold, scale)
	}
}

// split cuts n numbers from first on into those before a whole block and the
// whole blocks, a multiple of the lanes.
func (c *counters) split(n int, first uint64) (head, blocks int) {
	head = min(n, int(-first&3))
	return head, (n - head) / 4 / c.lanes * c.lanes
}
