package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The coefficients of gpurunner/device/cpu/kernel/exp.go, printed by
// ./coefficients; that package's tests compare the two.
var (
	expPoly      = []float32{0.49999994, 0.166665152, 0.0416680872, 0.00836929772, 0.00138382823}
	erfPoly      = []float32{0.128379166, -0.376126051, 0.112831064, -0.0268191956, 0.00508052483, -0.00064976624}
	erfLargePoly = []float32{0.000183805867, -1.12962615, -0.632956624, -0.108933747, 0.0257293135, -0.00450487668, 0.000540790788, -3.93081609e-05, 1.29460363e-06}
)

const (
	signBit = 1 << 31
	absBits = 1<<31 - 1
	inf     = 0x7f800000
)

// poly evaluates c, lowest order first, by Horner's rule.
func (v *vec) poly(c []float32, x reg.Register) reg.Register {
	q := v.copy(v.f(c[len(c)-1]))
	for i := len(c) - 2; i >= 0; i-- {
		q = v.fma(q, x, v.f(c[i]))
	}
	return q
}

func (v *vec) neg(x reg.Register) reg.Register { return v.xor(x, v.bits(signBit)) }
func (v *vec) abs(x reg.Register) reg.Register { return v.and(x, v.bits(absBits)) }

func (v *vec) exp(x reg.Register) reg.Register {
	magic := v.f(12582912)
	t := v.fma(v.copy(x), v.f(1.44269504), magic)
	n := v.sub(t, magic)
	r := v.copy(x)
	v.subMul(r, n, v.f(0.693359375))
	v.subMul(r, n, v.f(-2.12194440e-4))
	q := v.poly(expPoly, r)
	p := v.add(v.fma(q, v.mul(r, r), r), v.f(1))
	v.VPSLLD(op.Imm(23), t, t)
	return v.expEdges(x, p, t)
}

// expEdges adds t to the exponent of p, except that the result is zero below
// -87, and infinite, or NaN, where x is not in range.
func (v *vec) expEdges(x, p, t reg.Register) reg.Register {
	if !v.wide {
		v.VPADDD(t, p, p)
		y := v.zeroUnless(notLess, x, v.f(-87), p)
		return v.where(notLessOrEq, x, v.f(88.72283), v.add(x, v.bits(inf)), y)
	}
	y, in, out := v.reg(), v.K(), v.K()
	v.VCMPPS(op.Imm(notLess), v.f(-87), x, in)
	v.VCMPPS(op.Imm(notLessOrEq), v.f(88.72283), x, out)
	v.VPADDD_Z(t, p, in, y)
	v.VADDPS(v.bits(inf), x, out, y)
	return y
}

// erfSmall is erf(x) for |x| below 0.8125.
func (v *vec) erfSmall(x reg.Register) reg.Register {
	return v.fma(v.poly(erfPoly, v.mul(x, x)), x, x)
}

// erfcLarge is 1 − erf(z) for z from 0.8125, and zero above 5.
func (v *vec) erfcLarge(z reg.Register) reg.Register {
	e := v.exp(v.poly(erfLargePoly, v.min(v.f(5), z)))
	return v.zeroUnless(notMore, z, v.f(5), e)
}

// gate is 1 + exp(−w); σ(w) = 1/gate(w).
func (v *vec) gate(w reg.Register) reg.Register { return v.add(v.exp(v.neg(w)), v.f(1)) }

func (v *vec) sigmoid(x reg.Register) reg.Register { return v.div(v.f(1), v.gate(x)) }
func (v *vec) silu(x reg.Register) reg.Register    { return v.div(x, v.gate(x)) }

// gatedSlope is the derivative of x·σ(w(x)): s = σ(w), xdw = x·w'.
func (v *vec) gatedSlope(xdw, s reg.Register) reg.Register {
	return v.fma(v.mul(xdw, s), v.sub(v.f(1), s), s)
}

func (v *vec) siluSlope(x reg.Register) reg.Register { return v.gatedSlope(x, v.sigmoid(x)) }

// onePlusErf is 1 + erf(x/√2), free of cancellation where that is near 0.
func (v *vec) onePlusErf(x reg.Register) reg.Register {
	t := v.mul(x, v.f(0.70710678))
	z := v.abs(t)
	e := v.erfcLarge(z)
	large := v.where(lessThan, t, v.f(0), e, v.sub(v.f(2), e))
	return v.where(lessThan, z, v.f(0.8125), v.add(v.erfSmall(t), v.f(1)), large)
}

func (v *vec) gelu(x reg.Register) reg.Register {
	return v.mul(v.mul(x, v.f(0.5)), v.onePlusErf(x))
}

func (v *vec) geluSlope(x reg.Register) reg.Register {
	phi := v.mul(v.exp(v.mul(v.mul(x, v.f(-0.5)), x)), v.f(0.39894228))
	return v.fma(phi, x, v.mul(v.onePlusErf(x), v.f(0.5)))
}

func (v *vec) geluTanhArg(x reg.Register) reg.Register {
	w := v.fma(v.mul(x, x), v.f(0.044715), v.f(1))
	return v.mul(w, v.mul(x, v.f(1.59576912)))
}

func (v *vec) geluTanh(x reg.Register) reg.Register { return v.div(x, v.gate(v.geluTanhArg(x))) }

func (v *vec) geluTanhSlope(x reg.Register) reg.Register {
	s := v.sigmoid(v.geluTanhArg(x))
	dw := v.mul(v.fma(v.mul(x, x), v.f(3*0.044715), v.f(1)), v.f(1.59576912))
	return v.gatedSlope(v.mul(x, dw), s)
}

func (v *vec) quickGELU(x reg.Register) reg.Register {
	return v.div(x, v.gate(v.mul(x, v.f(1.702))))
}

func (v *vec) quickGELUSlope(x reg.Register) reg.Register {
	w := v.mul(x, v.f(1.702))
	return v.gatedSlope(w, v.sigmoid(w))
}
