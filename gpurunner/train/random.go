package train

import (
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// stream says what a random number is for. Streams of one phase do not meet
// those of another: see source.at.
type stream uint32

const (
	streamOrder stream = iota + 1 // the order of an epoch's pictures
	streamCaption
	streamFlip
	streamJitter
	streamTimestep
	streamNoise
	streamPosterior
	streamRows // what placeholder rows begin as
	streamDown // what down factors begin as
	streamMask // which parts an inpainting base has to fill in
	streamMaskedPosterior
	streamOffset
	streamClass   // the class pictures of prior preservation
	streamDropout // of adapter i: streamDropout + i

	streamsPerPhase = 1 << 16
)

// Phase is a part of training.
type Phase uint8

// The phases, in their order.
const (
	Inversion Phase = iota
	Tuning
	// validation only addresses random numbers.
	validation
)

func (p Phase) String() string { return [...]string{"inversion", "tuning", "validation"}[p] }

// source draws numbers: Philox4x32-10 with the job's seed as its key and the
// counter (stream, step, micro-step, index/4), as devices do (device.Draw).
type source struct{ seed uint64 }

// at addresses the numbers of one purpose, step and micro-step or sample.
func (s source) at(p Phase, what stream, step, micro int) *draws {
	return &draws{d: kernel.Draw{Key: s.seed, Counter: [3]uint32{uint32(p)*streamsPerPhase + uint32(what), uint32(step), uint32(micro)}}}
}

// draws hands out the numbers of one address in order.
type draws struct {
	d    kernel.Draw
	next uint32
	word [4]uint32
}

// Uint32 returns the next number.
func (d *draws) Uint32() uint32 {
	if d.next%4 == 0 {
		d.word = d.d.Block(d.next / 4)
	}
	v := d.word[d.next%4]
	d.next++
	return v
}

// Float64 returns a number in [0,1), of 32 bits.
func (d *draws) Float64() float64 { return float64(d.Uint32()) / (1 << 32) }

// IntN returns a number in [0,n), n ≥ 1, without bias (Lemire 2019,
// arXiv:1805.10941).
func (d *draws) IntN(n int) int {
	m := uint32(n)
	for {
		x := uint64(d.Uint32()) * uint64(m)
		if uint32(x) >= -m%m {
			return int(x >> 32)
		}
	}
}

// Perm returns a permutation of 0..n-1 (Fisher and Yates).
func (d *draws) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := d.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Normals returns n standard normal numbers, the first n of the address
// whatever was drawn before.
func (d *draws) Normals(n int) []float32 {
	v := make([]float32, n)
	kernel.Normals(v, d.d, 0)
	return v
}
