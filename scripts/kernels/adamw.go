package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("adamw", func(f *family) {
		f.function("adamW", "p, grad, m, v *float32, n int, step *byte)", "steps one segment by an AdamWStep.", func(v *vec) {
			p, g, m, s := v.param("p"), v.param("grad"), v.param("m"), v.param("v")
			n, step := v.param("n"), v.param("step")
			// The fields of kernel.AdamWStep, all float32, in their order.
			field := make([]reg.Register, 8)
			for i := range field {
				field[i] = v.reg()
				v.VBROADCASTSS(op.Mem{Base: step, Disp: 4 * i}, field[i])
			}
			keep, clip, oneMinus1, beta2 := field[0], field[1], field[2], field[3]
			oneMinus2, rootBias2, eps, rate := field[4], field[5], field[6], field[7]
			v.each(n, 1, func(at func(reg.Register) op.Mem) {
				gi := v.mul(clip, v.operand(at(g)))
				mi := v.load(at(m))
				v.addMul(mi, v.sub(gi, mi), oneMinus1)
				v.store(mi, at(m))
				vi := v.fma(v.mul(gi, oneMinus2), gi, v.mul(beta2, v.operand(at(s))))
				v.store(vi, at(s))
				den := v.add(v.div(v.sqrt(vi), rootBias2), eps)
				pi := v.mul(keep, v.operand(at(p)))
				v.subMul(pi, v.div(mi, den), rate)
				v.store(pi, at(p))
			})
			v.end()
		})
	})
}
