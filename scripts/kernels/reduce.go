package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("reduce", func(f *family) {
		sums(f)
		softmax(f)
	})
}

func sums(f *family) {
	f.function("sum", "x *float32, n int) (ret float32)", "returns Σx in 64 lanes.", func(v *vec) {
		x, n, acc := v.param("x"), v.param("n"), v.accumulators(64)
		v.reduce(n, len(acc), func(j int, at func(reg.Register) op.Mem) {
			v.VADDPS(v.operand(at(x)), acc[j], acc[j])
		})
		v.result(v.tree(acc, v.VADDPS), "ret")
		v.end()
	})
	f.function("dot", "x, y *float32, n int) (ret float32)", "returns Σx·y in 64 lanes.", func(v *vec) {
		x, y, n, acc := v.param("x"), v.param("y"), v.param("n"), v.accumulators(64)
		v.reduce(n, len(acc), func(j int, at func(reg.Register) op.Mem) {
			v.addMul(acc[j], v.load(at(x)), v.operand(at(y)))
		})
		v.result(v.tree(acc, v.VADDPS), "ret")
		v.end()
	})
	f.function("sumSquaresFrom", "x *float32, n int, mean float32) (ret float32)", "returns Σ(x−mean)² in 64 lanes.", func(v *vec) {
		x, n, mean, acc := v.param("x"), v.param("n"), v.scalar("mean"), v.accumulators(64)
		v.reduce(n, len(acc), func(j int, at func(reg.Register) op.Mem) {
			d := v.onlyTail(v.sub(v.load(at(x)), mean))
			v.addMul(acc[j], d, d)
		})
		v.result(v.tree(acc, v.VADDPS), "ret")
		v.end()
	})
	f.function("maximum", "x *float32, n int) (ret float32)", "returns the largest x, −Inf of nothing.", func(v *vec) {
		x, n := v.param("x"), v.param("n")
		least := v.bits(inf | signBit)
		acc := make([]reg.Register, 64/v.lanes())
		for j := range acc {
			acc[j] = v.copy(least)
		}
		v.reduce(n, len(acc), func(j int, at func(reg.Register) op.Mem) {
			v.VMAXPS(v.tailElse(v.operand(at(x)), acc[j]), acc[j], acc[j])
		})
		v.result(v.tree(acc, v.VMAXPS), "ret")
		v.end()
	})
}

func softmax(f *family) {
	f.function("expSum", "y, x *float32, n int, scale, shift float32) (ret float32)",
		"computes y = exp(scale·x − shift) and returns Σy in 16 lanes.", func(v *vec) {
			y, x, n := v.param("y"), v.param("x"), v.param("n")
			scale, shift, acc := v.scalar("scale"), v.scalar("shift"), v.accumulators(16)
			v.reduce(n, len(acc), func(j int, at func(reg.Register) op.Mem) {
				t := v.load(at(x))
				v.VFMSUB213PS(shift, scale, t)
				e := v.onlyTail(v.exp(t))
				v.store(e, at(y))
				v.VADDPS(e, acc[j], acc[j])
			})
			v.result(v.tree(acc, v.VADDPS), "ret")
			v.end()
		})
	f.function("softmaxBack", "dx, p, dp *float32, n int, dot, scale float32)", "computes dx = scale·p·(dp−dot).", func(v *vec) {
		dx, p, dp, n := v.param("dx"), v.param("p"), v.param("dp"), v.param("n")
		dot, scale := v.scalar("dot"), v.scalar("scale")
		v.each(n, 2, func(at func(reg.Register) op.Mem) {
			d := v.sub(v.load(at(dp)), dot)
			v.store(v.mul(v.mul(d, v.operand(at(p))), scale), at(dx))
		})
		v.end()
	})
}
