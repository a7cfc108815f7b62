package kernel

import "math"

// The polynomials of exp and erf, lowest order first, from
// scripts/kernels/coefficients. The assembly reads the same tables.
const (
	log2e = 1.44269504
	ln2Hi = 0.693359375 // 9 bits: its product with an exponent is exact
	ln2Lo = -2.12194440e-4
	// roundMagic is 1.5·2²³: adding it leaves a number's integer part in the
	// low bits.
	roundMagic = 12582912

	expMin = -87 // below this exp is 0: denormals would slow what follows
	expMax = 88.72283

	erfSplit = 0.8125
	erfMax   = 5 // 1 − erf is 0 above, and 1.5e-12 here
)

var (
	expPoly      = [5]float32{0.49999994, 0.166665152, 0.0416680872, 0.00836929772, 0.00138382823}
	erfPoly      = [6]float32{0.128379166, -0.376126051, 0.112831064, -0.0268191956, 0.00508052483, -0.00064976624}
	erfLargePoly = [9]float32{0.000183805867, -1.12962615, -0.632956624, -0.108933747, 0.0257293135, -0.00450487668, 0.000540790788, -3.93081609e-05, 1.29460363e-06}
)

var inf32 = float32(math.Inf(1))

// Exp32 is exp for one number, as the portable Exp computes it.
func Exp32(x float32) float32 { return exp32(x) }

// exp32 writes x = n·ln2 + r and sums a polynomial in r, the way of Cody and
// Waite. Its error is below 2 units in the last place.
func exp32(x float32) float32 {
	if x < expMin {
		return 0
	}
	if !(x <= expMax) {
		return x + inf32 // infinite, or NaN
	}
	t := float32(x*log2e) + roundMagic
	n := t - roundMagic
	r := x - float32(n*ln2Hi)
	r -= float32(n * ln2Lo)
	q := horner(expPoly[:], r)
	p := float32(q*float32(r*r)) + r
	p += 1
	return math.Float32frombits(math.Float32bits(p) + math.Float32bits(t)<<23)
}

func horner(c []float32, x float32) float32 {
	q := c[len(c)-1]
	for i := len(c) - 2; i >= 0; i-- {
		q = float32(q*x) + c[i]
	}
	return q
}

// erfSmall32 is erf(x) for |x| below erfSplit.
func erfSmall32(x float32) float32 {
	return float32(horner(erfPoly[:], float32(x*x))*x) + x
}

// erfcLarge32 is 1 − erf(z) for z from erfSplit, to 6e-6 of itself.
func erfcLarge32(z float32) float32 {
	if z > erfMax {
		return 0
	}
	return exp32(horner(erfLargePoly[:], z))
}

// onePlusErf32 is 1 + erf(x) with all its digits where that is near 0: a sum
// of two numbers would keep multiples of 6e-8, which AdamW makes whole learning
// rates of.
func onePlusErf32(x float32) float32 {
	z := abs32(x)
	switch {
	case z < erfSplit:
		return 1 + erfSmall32(x)
	case x < 0:
		return erfcLarge32(z)
	}
	return 2 - erfcLarge32(z)
}

func sigmoid32(x float32) float32 { return 1 / (1 + exp32(-x)) }

func abs32(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }
