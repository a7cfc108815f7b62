package kernel

import (
	"math"
	"os"
	"sync"
	"unsafe"
)

// Pairs is one implementation of products of bf16 with sums in float32.
//
// Operands are rows of pairs, two neighbouring k of bf16 in the place of one
// float32, the first in its lower half: a [Tile] of M×K pairs of A and K×N
// pairs of B, panels being [K][Panel] pairs. ARow, BRow and K count pairs, K in
// multiples of [PairStep], ACol and BRow are 1 and Panel. Unlike the float32
// kernels', an accumulating call goes on with the sums in C, so how k is cut
// into calls does not show in the result.
//
// Products are exact in float32 and every addition rounds to nearest even, with
// numbers below the normal ones taken as and flushed to zero. Per element of C,
// AMX adds the 32 products of a step in two chains of fused multiply-adds from
// zero, those of even and of odd k, then both to each other, then that to C;
// VDPBF16PS has one chain over all k, of each pair the odd first.
type Pairs struct {
	Name string // "avx512bf16", "amx", or "emulated-" and one of them
	// MatMul computes one tile of C.
	MatMul func(t *Tile)
	// Peak is Products.Peak of these multiply-adds.
	Peak func(rounds int) (flops int)
}

// PairStep is the number of pairs that K is a multiple of: a row of a tile.
const PairStep = 16

// PairSets lists the implementations that this machine runs, slowest first.
// LOWRANK_CPU=avx512bf16 leaves out AMX; lower names leave none.
func PairSets() []*Pairs { return pairSets() }

var pairSets = sync.OnceValue(func() []*Pairs {
	all := machinePairs()
	name := os.Getenv("LOWRANK_CPU")
	for i, p := range all {
		if p.Name == name {
			return all[:i+1]
		}
	}
	if Lookup(name) != nil {
		return nil
	}
	return all
})

// EmulatedPairs lists both kinds in Go, for tests: the same bits, slowly.
func EmulatedPairs() []*Pairs {
	return []*Pairs{
		{Name: "emulated-avx512bf16", MatMul: func(t *Tile) { emulate(t, pairChain) }, Peak: peakGeneric},
		{Name: "emulated-amx", MatMul: func(t *Tile) { emulate(t, tileChain) }, Peak: peakGeneric},
	}
}

// LookupPairs returns the implementation of that name, "" being the fastest,
// emulations among them; nil if there is none.
func LookupPairs(name string) *Pairs {
	sets := PairSets()
	if name == "" && len(sets) > 0 {
		return sets[len(sets)-1]
	}
	for _, p := range append(EmulatedPairs(), sets...) {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func emulate(t *Tile, add func(sum float32, a, b unsafe.Pointer, bRow, steps int) float32) {
	for m := range t.M {
		for n := range t.N {
			c := at(t.C, m*t.CStride+n)
			sum := float32(0)
			if t.Accumulate {
				sum = *c
			}
			for i := range t.Segments {
				s := &t.Segments[i]
				sum = add(sum, unsafe.Pointer(at(s.A, (t.Row+m)*s.ARow)), unsafe.Add(s.B, 4*n), s.BRow, s.K/PairStep)
			}
			*c = sum
		}
	}
}

// pairChain sums as VDPBF16PS does.
func pairChain(sum float32, a, b unsafe.Pointer, bRow, steps int) float32 {
	for k := range steps * PairStep {
		x, y := *(*uint32)(unsafe.Add(a, 4*k)), *(*uint32)(unsafe.Add(b, 4*k*bRow))
		sum = addProduct(sum, x&0xffff0000, y&0xffff0000)
		sum = addProduct(sum, x<<16, y<<16)
	}
	return sum
}

// tileChain sums as TDPBF16PS does.
func tileChain(sum float32, a, b unsafe.Pointer, bRow, steps int) float32 {
	for s := range steps {
		var even, odd float32
		for k := s * PairStep; k < (s+1)*PairStep; k++ {
			x, y := *(*uint32)(unsafe.Add(a, 4*k)), *(*uint32)(unsafe.Add(b, 4*k*bRow))
			even = addProduct(even, x<<16, y<<16)
			odd = addProduct(odd, x&0xffff0000, y&0xffff0000)
		}
		sum = flushed(flushed(sum) + flushed(even+odd))
	}
	return sum
}

// addProduct is a fused multiply-add: the product of two bf16 has 16 bits, so
// float64 holds it, and its sum with a float32 is exact or too far from the
// middle of two float32 for the second rounding to matter.
func addProduct(sum float32, a, b uint32) float32 {
	x, y := flushed(math.Float32frombits(a)), flushed(math.Float32frombits(b))
	return flushed(float32(float64(float64(x)*float64(y)) + float64(flushed(sum))))
}

func flushed(x float32) float32 {
	if b := math.Float32bits(x); b&0x7f800000 == 0 {
		return math.Float32frombits(b & 0x80000000)
	}
	return x
}

func zipBF16Generic(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(f32ToBF16(a[i])) | uint32(f32ToBF16(b[i]))<<16)
	}
}

func zip16Generic(dst []float32, a, b []uint16) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(a[i]) | uint32(b[i])<<16)
	}
}
