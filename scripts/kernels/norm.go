package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("norm", func(f *family) {
		layerNorm(f)
		columnSums(f)
		affine(f)
		columnBack(f)
	})
}

func layerNorm(f *family) {
	f.function("normalize", "y, x, gamma, beta *float32, n int, mean, rstd float32)", "computes y = (x−mean)·rstd·γ + β.", func(v *vec) {
		y, x, gamma, beta, n := v.param("y"), v.param("x"), v.param("gamma"), v.param("beta"), v.param("n")
		mean, rstd := v.scalar("mean"), v.scalar("rstd")
		v.each(n, 2, func(at func(reg.Register) op.Mem) {
			t := v.mul(v.sub(v.load(at(x)), mean), rstd)
			v.store(v.fma(t, v.load(at(gamma)), v.operand(at(beta))), at(y))
		})
		v.end()
	})
	f.function("normalizeBackSums", "dy, x, gamma *float32, n int, mean, rstd float32) (sum, sumX float32)",
		"returns Σdy·γ and Σdy·γ·x̂ in 16 lanes.", func(v *vec) {
			dy, x, gamma, n := v.param("dy"), v.param("x"), v.param("gamma"), v.param("n")
			mean, rstd := v.scalar("mean"), v.scalar("rstd")
			sum, sumX := v.accumulators(16), v.accumulators(16)
			v.reduce(n, len(sum), func(j int, at func(reg.Register) op.Mem) {
				g := v.mul(v.load(at(dy)), v.operand(at(gamma)))
				v.VADDPS(g, sum[j], sum[j])
				v.addMul(sumX[j], g, v.mul(v.sub(v.load(at(x)), mean), rstd))
			})
			v.result(v.tree(sum, v.VADDPS), "sum")
			v.result(v.tree(sumX, v.VADDPS), "sumX")
			v.end()
		})
	f.function("normalizeBack", "dx, dy, x, gamma *float32, n int, mean, rstd, a, b float32)",
		"computes dx = rstd·(dy·γ − a − x̂·b).", func(v *vec) {
			dx, dy, x, gamma, n := v.param("dx"), v.param("dy"), v.param("x"), v.param("gamma"), v.param("n")
			mean, rstd, a, b := v.scalar("mean"), v.scalar("rstd"), v.scalar("a"), v.scalar("b")
			v.each(n, 2, func(at func(reg.Register) op.Mem) {
				g := v.load(at(dy))
				v.VFMSUB213PS(a, v.load(at(gamma)), g)
				v.subMul(g, v.mul(v.sub(v.load(at(x)), mean), rstd), b)
				v.store(v.mul(g, rstd), at(dx))
			})
			v.end()
		})
	f.function("normalizeBackParams", "dgamma, dbeta, dy, x *float32, n int, mean, rstd float32)",
		"adds dy·x̂ to dγ and dy to dβ.", func(v *vec) {
			dgamma, dbeta, dy := v.param("dgamma"), v.param("dbeta"), v.param("dy")
			x, n, mean, rstd := v.param("x"), v.param("n"), v.scalar("mean"), v.scalar("rstd")
			v.each(n, 2, func(at func(reg.Register) op.Mem) {
				d := v.load(at(dy))
				xn := v.mul(v.sub(v.load(at(x)), mean), rstd)
				v.store(v.fma(xn, d, v.operand(at(dgamma))), at(dgamma))
				v.store(v.add(d, v.operand(at(dbeta))), at(dbeta))
			})
			v.end()
		})
}

// columns runs over n columns in blocks of vectors, and over the rows within
// each: block(vectors) loads what it keeps in registers and returns what to do
// with a row and what in the end. mem gives the address of a vector of an
// array that has one row, row that of an array of many rows.
func (v *vec) columns(n reg.Register, blocks []int, rows string, pointers []rowPointer,
	block func(vectors int, mem func(base reg.Register, i int) op.Mem) (row func(mem func(base reg.Register, i int) op.Mem), end func())) {
	c := v.GP64() // byte index of the block's first column
	v.XORQ(c, c)
	run := func(vectors int) {
		row, end := block(vectors, func(base reg.Register, i int) op.Mem {
			return op.Mem{Base: base, Index: c, Scale: 1, Disp: i * v.bytes()}
		})
		at := map[reg.Register]reg.Register{}
		for _, p := range pointers {
			r := v.GP64()
			v.LEAQ(op.Mem{Base: p.base, Index: c, Scale: 1}, r)
			at[p.base] = r
		}
		left := v.param(rows)
		loop, done := v.label("row"), v.label("rows")
		v.TESTQ(left, left)
		v.JZ(op.LabelRef(done))
		v.Label(loop)
		row(func(base reg.Register, i int) op.Mem { return op.Mem{Base: at[base], Disp: i * v.bytes()} })
		for _, p := range pointers {
			v.advance(at[p.base], p.stride)
		}
		v.DECQ(left)
		v.JNZ(op.LabelRef(loop))
		v.Label(done)
		end()
	}
	for _, b := range blocks {
		loop, done := v.label("block"), v.label("blocks")
		v.SUBQ(op.U32(b*v.lanes()), n)
		v.JB(op.LabelRef(done))
		v.Label(loop)
		run(b)
		v.ADDQ(op.U32(b*v.bytes()), c)
		v.SUBQ(op.U32(b*v.lanes()), n)
		v.JAE(op.LabelRef(loop))
		v.Label(done)
		v.ADDQ(op.U32(b*v.lanes()), n)
	}
	end := v.label("end")
	v.JZ(op.LabelRef(end))
	v.setTail(n)
	run(1)
	v.noTail()
	v.Label(end)
}

// rowPointer is an array of many rows and the parameter that holds the bytes
// from one to the next.
type rowPointer struct {
	base   reg.Register
	stride string
}

// advance adds a parameter to a pointer.
func (v *vec) advance(p reg.Register, stride string) {
	s, err := v.Param(stride).Resolve()
	if err != nil {
		panic(err)
	}
	v.ADDQ(s.Addr, p)
}

func columnSums(f *family) {
	f.function("columnSums", "sum, x *float32, n, xStride, rows int)", "adds the rows of x to sum; xStride in bytes.", func(v *vec) {
		sum, x, n := v.param("sum"), v.param("x"), v.param("n")
		v.columns(n, []int{v.lanes() / 2, 1}, "rows", []rowPointer{{x, "xStride"}},
			func(vectors int, mem func(reg.Register, int) op.Mem) (func(func(reg.Register, int) op.Mem), func()) {
				acc := make([]reg.Register, vectors)
				for i := range acc {
					acc[i] = v.load(mem(sum, i))
				}
				return func(row func(reg.Register, int) op.Mem) {
						for i := range acc {
							v.VADDPS(v.operand(row(x, i)), acc[i], acc[i])
						}
					}, func() {
						for i := range acc {
							v.store(acc[i], mem(sum, i))
						}
					}
			})
		v.end()
	})
	f.function("columnSquares", "sum, mean, x *float32, n, xStride, rows int)", "adds (x−mean)² of each row to sum; xStride in bytes.", func(v *vec) {
		sum, mean, x, n := v.param("sum"), v.param("mean"), v.param("x"), v.param("n")
		v.columns(n, []int{v.lanes() / 2, 1}, "rows", []rowPointer{{x, "xStride"}},
			func(vectors int, mem func(reg.Register, int) op.Mem) (func(func(reg.Register, int) op.Mem), func()) {
				acc, m := make([]reg.Register, vectors), make([]op.Op, vectors)
				for i := range acc {
					acc[i] = v.load(mem(sum, i))
					m[i] = op.Op(mem(mean, i))
					if v.wide || v.mask != nil {
						m[i] = v.load(mem(mean, i))
					}
				}
				return func(row func(reg.Register, int) op.Mem) {
						for i := range acc {
							d := v.sub(v.load(row(x, i)), m[i])
							v.addMul(acc[i], d, d)
						}
					}, func() {
						for i := range acc {
							v.store(acc[i], mem(sum, i))
						}
					}
			})
		v.end()
	})
}

// rows repeats body, which runs over the columns of one row, and advances the
// pointers by their strides in between. There is at least one row.
func (v *vec) rows(count string, pointers []rowPointer, body func(n reg.Register)) {
	left := v.param(count)
	loop := v.label("row")
	v.Label(loop)
	body(v.param("n"))
	for _, p := range pointers {
		v.advance(p.base, p.stride)
	}
	v.DECQ(left)
	v.JNZ(op.LabelRef(loop))
}

func affine(f *family) {
	emit := func(name, doc string, then func(v *vec, z reg.Register) reg.Register, unroll int) {
		f.function(name, "y, x, a, b *float32, n, yStride, xStride, rows int)", doc+"; strides in bytes, rows > 0.", func(v *vec) {
			y, x, a, b := v.param("y"), v.param("x"), v.param("a"), v.param("b")
			v.rows("rows", []rowPointer{{y, "yStride"}, {x, "xStride"}}, func(n reg.Register) {
				v.each(n, unroll, func(at func(reg.Register) op.Mem) {
					z := v.fma(v.load(at(x)), v.load(at(a)), v.operand(at(b)))
					v.store(then(v, z), at(y))
				})
			})
			v.end()
		})
	}
	emit("affine", "computes y = a·x + b", func(v *vec, z reg.Register) reg.Register { return z }, 2)
	emit("affineSiLU", "computes y = SiLU(a·x + b)", (*vec).silu, 1)
}

// beforeSiLU turns dy, the gradient after SiLU(a·x+b), into that before it.
func (v *vec) beforeSiLU(dy, x reg.Register, a, b op.Op) reg.Register {
	return v.mul(v.siluSlope(v.fma(v.copy(x), a, b)), dy)
}

func columnBack(f *family) {
	for _, silu := range []bool{false, true} {
		suffix := map[bool]string{false: "", true: "SiLU"}[silu]
		f.function("columnBackSums"+suffix, "sum, sumX, x, dy, mean, rstd, a, b *float32, n, xStride, dyStride, rows int)",
			"adds dz to sum and dz·x̂ to sumX; strides in bytes.", func(v *vec) {
				sum, sumX, x, dy := v.param("sum"), v.param("sumX"), v.param("x"), v.param("dy")
				n := v.param("n")
				v.columns(n, []int{1}, "rows", []rowPointer{{x, "xStride"}, {dy, "dyStride"}},
					func(_ int, mem func(reg.Register, int) op.Mem) (func(func(reg.Register, int) op.Mem), func()) {
						s, sx := v.load(mem(sum, 0)), v.load(mem(sumX, 0))
						keep := func(name string) reg.Register { return v.load(mem(v.param(name), 0)) }
						mean, rstd := keep("mean"), keep("rstd")
						var a, b reg.Register
						if silu {
							a, b = keep("a"), keep("b")
						}
						return func(row func(reg.Register, int) op.Mem) {
								xv, dz := v.load(row(x, 0)), v.load(row(dy, 0))
								if silu {
									dz = v.beforeSiLU(dz, xv, a, b)
								}
								v.VADDPS(dz, s, s)
								v.addMul(sx, dz, v.mul(v.sub(xv, mean), rstd))
							}, func() {
								v.store(s, mem(sum, 0))
								v.store(sx, mem(sumX, 0))
							}
					})
				v.end()
			})
		f.function("columnBack"+suffix, "dx, x, dy, mean, p, q, t, a, b *float32, n, dxStride, xStride, dyStride, rows int)",
			"computes dx = p·dz + (q·(x−mean) + t); strides in bytes, rows > 0.", func(v *vec) {
				dx, x, dy := v.param("dx"), v.param("x"), v.param("dy")
				mean, p, q, t := v.param("mean"), v.param("p"), v.param("q"), v.param("t")
				var a, b reg.Register
				if silu {
					a, b = v.param("a"), v.param("b")
				}
				v.rows("rows", []rowPointer{{dx, "dxStride"}, {x, "xStride"}, {dy, "dyStride"}}, func(n reg.Register) {
					v.each(n, 1, func(at func(reg.Register) op.Mem) {
						xv, dz := v.load(at(x)), v.load(at(dy))
						if silu {
							dz = v.beforeSiLU(dz, xv, v.load(at(a)), v.operand(at(b)))
						}
						r := v.fma(v.sub(xv, v.operand(at(mean))), v.load(at(q)), v.operand(at(t)))
						v.addMul(r, dz, v.operand(at(p)))
						v.store(r, at(dx))
					})
				})
				v.end()
			})
	}
}
