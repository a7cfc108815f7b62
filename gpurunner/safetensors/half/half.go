// Package half converts between float32 and the two 16-bit floating-point formats that weight files use:
// F16 (IEEE 754 binary16: 5 exponent bits, 10 fraction bits) and BF16 (the upper half of a float32).
//
// Widening is exact for every value. Narrowing rounds to nearest, ties to even, as IEEE 754 and the
// processors' own instructions do; values beyond the format's range become infinite, and a NaN stays a NaN.
// The functions use no tables: they are a few integer operations each. Kernels that widen weights in bulk
// use the processor's instructions instead; this package is what they are held to.
package half

import "math"

// FromF16 widens one binary16 value. It is exact, subnormals included.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h & 0x7fff)
	if magnitude >= 0x7c00 { // infinity or NaN: the payload keeps its place at the top of the fraction
		return math.Float32frombits(sign | 0x7f800000 | magnitude<<13)
	}
	// Read as a float32 the bits mean the value times 2⁻¹¹² (the difference of the exponents' biases), for
	// subnormals too; the product with a power of two is exact.
	f := math.Float32frombits(magnitude<<13) * 0x1p112
	return math.Float32frombits(sign | math.Float32bits(f))
}

// ToF16 rounds f to the nearest binary16 value, ties to even; from 65520 on it gives infinity.
func ToF16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7fffffff
	switch {
	case bits > 0x7f800000: // NaN: made quiet, so that a payload in the low bits cannot turn into infinity
		return sign | 0x7e00 | uint16(bits>>13&0x1ff)
	case bits >= 0x47800000: // 65536 and above
		return sign | 0x7c00
	case bits < 0x38800000: // below 2⁻¹⁴, the smallest normal binary16
		// One unit in the last place of numbers in [0.5, 1) is 2⁻²⁴, the step of binary16 subnormals: the
		// addition does the rounding.
		sum := float32(math.Float32frombits(bits) + 0.5)
		return sign | uint16(math.Float32bits(sum)-0x3f000000)
	default:
		bits += 0xfff + bits>>13&1
		return sign | uint16((bits-112<<23)>>13)
	}
}

// FromBF16 widens one bfloat16 value. It is exact.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBF16 rounds f to the nearest bfloat16 value, ties to even.
func ToBF16(f float32) uint16 {
	bits := math.Float32bits(f)
	if bits&0x7fffffff > 0x7f800000 {
		return uint16(bits>>16) | 0x40
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
