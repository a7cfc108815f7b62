package main

import (
	"fmt"

	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("arithmetic", arithmetic)
	vectors("activation", activations)
}

func arithmetic(f *family) {
	three := func(name, doc string, body func(v *vec, y, a, b op.Mem)) {
		f.function(name, "y, a, b *float32, n int)", doc, func(v *vec) {
			y, a, b, n := v.param("y"), v.param("a"), v.param("b"), v.param("n")
			v.each(n, 4, func(at func(reg.Register) op.Mem) { body(v, at(y), at(a), at(b)) })
			v.end()
		})
	}
	three("add", "computes y = a + b.", func(v *vec, y, a, b op.Mem) { v.store(v.add(v.load(a), v.operand(b)), y) })
	three("mul", "computes y = a·b.", func(v *vec, y, a, b op.Mem) { v.store(v.mul(v.load(a), v.operand(b)), y) })
	three("mulAdd", "computes y += a·b.", func(v *vec, y, a, b op.Mem) {
		v.store(v.fma(v.load(a), v.load(b), v.operand(y)), y)
	})

	f.function("scale", "y, x *float32, n int, c float32)", "computes y = c·x.", func(v *vec) {
		y, x, n, c := v.param("y"), v.param("x"), v.param("n"), v.scalar("c")
		v.each(n, 4, func(at func(reg.Register) op.Mem) { v.store(v.mul(c, v.operand(at(x))), at(y)) })
		v.end()
	})
	f.function("axpy", "y, x *float32, n int, c float32)", "computes y += c·x.", func(v *vec) {
		y, x, n, c := v.param("y"), v.param("x"), v.param("n"), v.scalar("c")
		v.each(n, 4, func(at func(reg.Register) op.Mem) {
			v.store(v.fma(v.load(at(x)), c, v.operand(at(y))), at(y))
		})
		v.end()
	})
	for terms := 2; terms <= 5; terms++ {
		f.function(fmt.Sprintf("combine%d", terms), "y *float32, n int, terms *byte)",
			fmt.Sprintf("computes y = Σ c·x of %d Terms.", terms), func(v *vec) {
				y, n, t := v.param("y"), v.param("n"), v.param("terms")
				c, x := make([]reg.Register, terms), make([]reg.Register, terms)
				for i := range terms {
					c[i], x[i] = v.reg(), v.GP64()
					v.VBROADCASTSS(op.Mem{Base: t, Disp: termSize * i}, c[i])
					v.MOVQ(op.Mem{Base: t, Disp: termSize*i + termX}, x[i])
				}
				v.each(n, 2, func(at func(reg.Register) op.Mem) {
					sum := v.mul(c[0], v.operand(at(x[0])))
					for i := 1; i < terms; i++ {
						v.addMul(sum, c[i], v.operand(at(x[i])))
					}
					v.store(sum, at(y))
				})
				v.end()
			})
	}
}

// Offsets in kernel.Term; arithmetic.go asserts them.
const termX, termSize = 8, 32

func activations(f *family) {
	for _, a := range []struct {
		name, doc string
		f         func(v *vec, x reg.Register) reg.Register
	}{
		{"exp", "exp(x)", (*vec).exp},
		{"silu", "x·σ(x)", (*vec).silu},
		{"gelu", "GELU(x)", (*vec).gelu},
		{"geluTanh", "GELU(x) in its tanh form", (*vec).geluTanh},
		{"quickGELU", "x·σ(1.702x)", (*vec).quickGELU},
	} {
		f.function(a.name, "y, x *float32, n int)", "computes y = "+a.doc+".", func(v *vec) {
			y, x, n := v.param("y"), v.param("x"), v.param("n")
			v.each(n, 1, func(at func(reg.Register) op.Mem) { v.store(a.f(v, v.load(at(x))), at(y)) })
			v.end()
		})
	}
	for _, a := range []struct {
		name string
		f    func(v *vec, x reg.Register) reg.Register
	}{
		{"siluBack", (*vec).siluSlope},
		{"geluBack", (*vec).geluSlope},
		{"geluTanhBack", (*vec).geluTanhSlope},
		{"quickGELUBack", (*vec).quickGELUSlope},
	} {
		f.function(a.name, "dx, dy, x *float32, n int)", "computes dx = f'(x)·dy.", func(v *vec) {
			dx, dy, x, n := v.param("dx"), v.param("dy"), v.param("x"), v.param("n")
			v.each(n, 1, func(at func(reg.Register) op.Mem) {
				v.store(v.mul(a.f(v, v.load(at(x))), v.operand(at(dy))), at(dx))
			})
			v.end()
		})
	}
	f.function("geglu", "y, hidden, gate *float32, n int)", "computes y = hidden·GELU(gate).", func(v *vec) {
		y, hidden, gate, n := v.param("y"), v.param("hidden"), v.param("gate"), v.param("n")
		v.each(n, 1, func(at func(reg.Register) op.Mem) {
			v.store(v.mul(v.gelu(v.load(at(gate))), v.operand(at(hidden))), at(y))
		})
		v.end()
	})
	f.function("gegluBack", "dHidden, dGate, dy, hidden, gate *float32, n int)",
		"computes dHidden = dy·GELU(gate), dGate = dy·hidden·GELU'(gate).", func(v *vec) {
			dHidden, dGate, dy := v.param("dHidden"), v.param("dGate"), v.param("dy")
			hidden, gate, n := v.param("hidden"), v.param("gate"), v.param("n")
			v.each(n, 1, func(at func(reg.Register) op.Mem) {
				g := v.load(at(gate))
				// GELU and its slope share 1 + erf.
				e := v.onePlusErf(g)
				phi := v.mul(v.exp(v.mul(v.mul(g, v.f(-0.5)), g)), v.f(0.39894228))
				slope := v.fma(phi, g, v.mul(e, v.f(0.5)))
				value := v.mul(v.mul(g, v.f(0.5)), e)
				d := v.load(at(dy))
				dg := v.mul(v.mul(d, v.operand(at(hidden))), slope)
				v.store(v.mul(d, value), at(dHidden))
				v.store(dg, at(dGate))
			})
			v.end()
		})
}
