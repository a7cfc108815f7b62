package kernel

import "unsafe"

// Panel is the width of a B panel and the most columns of a tile.
const Panel = 32

// BlockK is the most k that one Tile should sum over: longer sums are cut into
// blocks, by shape, whose results are added to C in order. It bounds rounding
// error and the time in assembly, which is not preempted.
const BlockK = 512

// BType is the storage type of a B panel.
type BType uint8

// The storage types; halves are widened, exactly, in registers.
const (
	F32 BType = iota
	F16
	BF16
)

// Tile is one call of the batch-reduce matrix kernel:
//
//	C [M,N] = Σ over segments A [M,K] · B [K,N]      (or C += with Accumulate)
//
// with all segments in one fused chain per element of C: taps of a
// convolution, pieces of a linear layer's K, the extra columns of a LoRA.
// ΣK should be at most BlockK. N is at most Panel. C holds rows CStride
// elements apart.
//
// Row is the number of the tile's first row, counted from the A of the
// segments: a driver writes its segments once and moves Row and C through M.
// It does not apply to C.
type Tile struct {
	C          *float32
	CStride    int
	M, N       int
	Row        int
	Accumulate bool
	Segments   []Segment
}

// Segment is one product of a Tile.
//
// Element (m, k) of A is at A + m·ARow + k·ACol elements: ACol is 1 for a
// row-major operand, and ARow is 1 for a transposed one. Row k of B is at
// B + k·BRow elements: Panel for a packed panel, the row stride for an operand
// that is read in place. A panel of F16 or BF16 must be Panel columns wide;
// of F32 columns from N on are not read.
type Segment struct {
	A          *float32
	ARow, ACol int
	B          unsafe.Pointer // *float32, or *uint16 for F16 and BF16
	BRow       int
	K          int
	Type       BType
}

func matMulGeneric(t *Tile) {
	var acc [4][Panel]float32
	for m := 0; m < t.M; m += len(acc) {
		rows := min(len(acc), t.M-m)
		clear(acc[:])
		for i := range t.Segments {
			segmentGeneric(&acc, &t.Segments[i], t.Row+m, rows, t.N)
		}
		for r := range rows {
			c := unsafe.Slice(at(t.C, (m+r)*t.CStride), t.N)
			for j := range c {
				if t.Accumulate {
					c[j] += acc[r][j]
				} else {
					c[j] = acc[r][j]
				}
			}
		}
	}
}

func segmentGeneric(acc *[4][Panel]float32, s *Segment, row, rows, n int) {
	var wide [Panel]float32
	a := unsafe.Pointer(s.A)
	for k := range s.K {
		var b []float32
		switch s.Type {
		case F32:
			b = unsafe.Slice((*float32)(unsafe.Add(s.B, 4*k*s.BRow)), n)
		case F16:
			b = wide[:n]
			widenF16Generic(b, unsafe.Slice((*uint16)(unsafe.Add(s.B, 2*k*s.BRow)), n))
		case BF16:
			b = wide[:n]
			widenBF16Generic(b, unsafe.Slice((*uint16)(unsafe.Add(s.B, 2*k*s.BRow)), n))
		}
		for r := range rows {
			av := *(*float32)(unsafe.Add(a, 4*((row+r)*s.ARow+k*s.ACol)))
			c := acc[r][:len(b)]
			for j, bv := range b {
				c[j] += float32(av * bv)
			}
		}
	}
}

// at returns p + i elements.
func at(p *float32, i int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*i))
}

func dotRowsGeneric(c []float32, cStride int, a []float32, aStride int, b []float32, bStride int, m, n, k int, accumulate bool) {
	for i := range m {
		x := a[i*aStride : i*aStride+k]
		for j := range n {
			y := b[j*bStride : j*bStride+k]
			var lanes [16]float32
			for l, v := range x {
				lanes[l&15] += float32(v * y[l])
			}
			sum := tree(lanes[:])
			if accumulate {
				sum += c[i*cStride+j]
			}
			c[i*cStride+j] = sum
		}
	}
}

var peakSink float32

func peakGeneric(rounds int) int {
	var a, b, c, d float32
	x := peakSink
	for range rounds {
		a += float32(x * x)
		b += float32(x * x)
		c += float32(x * x)
		d += float32(x * x)
	}
	peakSink = a + b + c + d
	return rounds * 4 * 2
}
