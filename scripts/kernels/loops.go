package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// each runs over n elements of several arrays at one index. body gets the
// address of the vector within any of them. n is consumed.
func (v *vec) each(n reg.Register, unroll int, body func(at func(base reg.Register) op.Mem)) {
	i := v.GP64()
	v.XORQ(i, i)
	v.eachFrom(i, n, unroll, body)
}

// eachFrom is each with the byte index i, which begins where it stands.
func (v *vec) eachFrom(i, n reg.Register, unroll int, body func(at func(base reg.Register) op.Mem)) {
	for _, u := range unrolls(unroll) {
		loop, done := v.label("loop"), v.label("done")
		v.SUBQ(op.U32(u*v.lanes()), n)
		v.JB(op.LabelRef(done))
		v.Label(loop)
		for k := range u {
			body(func(base reg.Register) op.Mem {
				return op.Mem{Base: base, Index: i, Scale: 1, Disp: k * v.bytes()}
			})
		}
		v.ADDQ(op.U32(u*v.bytes()), i)
		v.SUBQ(op.U32(u*v.lanes()), n)
		v.JAE(op.LabelRef(loop))
		v.Label(done)
		v.ADDQ(op.U32(u*v.lanes()), n)
	}
	end := v.label("end")
	v.JZ(op.LabelRef(end)) // the flags of the last addition
	v.setTail(n)
	body(func(base reg.Register) op.Mem { return op.Mem{Base: base, Index: i, Scale: 1} })
	v.noTail()
	v.Label(end)
}

func unrolls(u int) []int {
	if u == 1 {
		return []int{1}
	}
	return []int{u, 1}
}

// reduce runs over n elements, vector number k going to accumulator k mod
// accs. body adds the vector at an address to accumulator j.
func (v *vec) reduce(n reg.Register, accs int, body func(j int, at func(base reg.Register) op.Mem)) {
	i := v.GP64()
	v.XORQ(i, i)
	loop, done, end := v.label("loop"), v.label("done"), v.label("end")
	lanes, bytes := v.lanes(), v.bytes()
	v.SUBQ(op.U32(accs*lanes), n)
	v.JB(op.LabelRef(done))
	v.Label(loop)
	for j := range accs {
		body(j, func(base reg.Register) op.Mem {
			return op.Mem{Base: base, Index: i, Scale: 1, Disp: j * bytes}
		})
	}
	v.ADDQ(op.U32(accs*bytes), i)
	v.SUBQ(op.U32(accs*lanes), n)
	v.JAE(op.LabelRef(loop))
	v.Label(done)
	v.ADDQ(op.U32(accs*lanes), n)
	here := func(base reg.Register) op.Mem { return op.Mem{Base: base, Index: i, Scale: 1} }
	tails := make([]string, accs)
	for j := range accs {
		tails[j] = v.label("tail")
		v.CMPQ(n, op.U32(lanes))
		v.JB(op.LabelRef(tails[j]))
		if j == accs-1 {
			break // never fewer than accs vectors and one more
		}
		body(j, here)
		v.ADDQ(op.U32(bytes), i)
		v.SUBQ(op.U32(lanes), n)
	}
	for j := range accs {
		v.Label(tails[j])
		v.TESTQ(n, n)
		v.JZ(op.LabelRef(end))
		v.setTail(n)
		body(j, here)
		v.noTail()
		if j < accs-1 {
			v.JMP(op.LabelRef(end))
		}
	}
	v.Label(end)
}

// accumulators returns zeroed registers that hold lanes virtual lanes.
func (v *vec) accumulators(lanes int) []reg.Register {
	acc := make([]reg.Register, lanes/v.lanes())
	for i := range acc {
		acc[i] = v.zero()
	}
	return acc
}

// tree folds accumulators, upper half onto lower half, down to one lane, with
// add or max.
func (v *vec) tree(acc []reg.Register, fold func(ops ...op.Op)) reg.Register {
	for n := len(acc) / 2; n > 0; n /= 2 {
		for j := range n {
			fold(acc[j+n], acc[j], acc[j])
		}
	}
	r := acc[0].(reg.Vec)
	x, t := r.AsX(), v.XMM()
	if v.wide {
		y := v.YMM()
		v.VEXTRACTF64X4(op.Imm(1), acc[0], y)
		fold(y, r.AsY(), r.AsY())
	}
	v.VEXTRACTF128(op.Imm(1), r.AsY(), t)
	fold(t, x, x)
	v.VSHUFPS(op.Imm(0x4e), x, x, t) // lanes 2 and 3 down
	fold(t, x, x)
	v.VSHUFPS(op.Imm(0xb1), x, x, t) // lane 1 down
	fold(t, x, x)
	return x
}

// result stores lane 0 of x as a result of the function.
func (v *vec) result(x reg.Register, name string) {
	r, err := v.Return(name).Resolve()
	if err != nil {
		panic(err)
	}
	v.VMOVSS(x, r.Addr)
}
