package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { vectors("winograd", winograd) }

// walk runs over n elements, moving the pointers along. n is consumed.
func (v *vec) walk(n reg.Register, pointers []reg.Register, body func()) {
	loop, done, end := v.label("loop"), v.label("done"), v.label("end")
	v.SUBQ(op.U32(v.lanes()), n)
	v.JB(op.LabelRef(done))
	v.Label(loop)
	body()
	for _, p := range pointers {
		v.ADDQ(op.U32(v.bytes()), p)
	}
	v.SUBQ(op.U32(v.lanes()), n)
	v.JAE(op.LabelRef(loop))
	v.Label(done)
	v.ADDQ(op.U32(v.lanes()), n)
	v.JZ(op.LabelRef(end))
	v.setTail(n)
	body()
	v.noTail()
	v.Label(end)
}

// four addresses an array's elements 0 to 3 that lie step bytes apart.
type four struct {
	base, step, step3 reg.Register
}

func (f four) at(i int) op.Mem {
	switch i {
	case 0:
		return op.Mem{Base: f.base}
	case 3:
		return op.Mem{Base: f.base, Index: f.step3, Scale: 1}
	}
	return op.Mem{Base: f.base, Index: f.step, Scale: uint8(i)}
}

// four reads a parameter that is a distance in bytes.
func (v *vec) four(step string) four {
	s := v.param(step)
	s3 := v.GP64()
	v.LEAQ(op.Mem{Base: s, Index: s, Scale: 2}, s3)
	return four{step: s, step3: s3}
}

// moved returns a pointer i distances behind base.
func (v *vec) moved(base, distance string, i int) reg.Register {
	p := v.param(base)
	if i == 0 {
		return p
	}
	d := v.param(distance)
	v.IMUL3Q(op.U8(i), d, d)
	v.ADDQ(d, p)
	return p
}

func winograd(f *family) {
	f.function("winogradInput", "dst, src *float32, n, part, pixel, row int)",
		"computes Bᵀ·d·B of one tile; distances in bytes.", func(v *vec) {
			source, to := v.four("pixel"), v.four("part")
			// Row y of Bᵀ·d is the sum or difference of two rows of d.
			for y, r := range [4]struct {
				a, b int
				plus bool
			}{{0, 2, false}, {1, 2, true}, {2, 1, false}, {1, 3, false}} {
				a, b, d := source, source, to
				a.base, b.base = v.moved("src", "row", r.a), v.moved("src", "row", r.b)
				d.base = v.moved("dst", "part", 4*y)
				v.walk(v.param("n"), []reg.Register{a.base, b.base, d.base}, func() {
					var t [4]reg.Register
					for x := range t {
						t[x] = v.load(a.at(x))
						if r.plus {
							t[x] = v.add(t[x], v.operand(b.at(x)))
						} else {
							t[x] = v.sub(t[x], v.operand(b.at(x)))
						}
					}
					v.store(v.sub(t[0], t[2]), d.at(0))
					v.store(v.add(t[1], t[2]), d.at(1))
					v.store(v.sub(t[2], t[1]), d.at(2))
					v.store(v.sub(t[1], t[3]), d.at(3))
				})
			}
			v.end()
		})

	f.function("winogradWeights", "dst, src *float32, n, part, tap int)",
		"computes G·g·Gᵀ; distances in bytes.", func(v *vec) {
			half := v.f(0.5)
			source, to := v.four("tap"), v.four("part")
			var g [3]four
			var d [4]four
			pointers := []reg.Register{}
			for y := range g {
				g[y] = source
				g[y].base = v.moved("src", "tap", 3*y)
				pointers = append(pointers, g[y].base)
			}
			for y := range d {
				d[y] = to
				d[y].base = v.moved("dst", "part", 4*y)
				pointers = append(pointers, d[y].base)
			}
			// thirds returns ½(a+b+c) and ½(a−b+c).
			thirds := func(a, b, c reg.Register) (reg.Register, reg.Register) {
				s := v.add(a, c)
				return v.mul(v.add(s, b), half), v.mul(v.sub(s, b), half)
			}
			row := func(y int, t [3]reg.Register) {
				plus, minus := thirds(t[0], t[1], t[2])
				v.store(t[0], d[y].at(0))
				v.store(plus, d[y].at(1))
				v.store(minus, d[y].at(2))
				v.store(t[2], d[y].at(3))
			}
			v.walk(v.param("n"), pointers, func() {
				var in [3][3]reg.Register
				for y := range in {
					for x := range in[y] {
						in[y][x] = v.load(g[y].at(x))
					}
				}
				row(0, in[0])
				row(3, in[2])
				var plus, minus [3]reg.Register
				for x := range plus {
					plus[x], minus[x] = thirds(in[0][x], in[1][x], in[2][x])
				}
				row(1, plus)
				row(2, minus)
			})
			v.end()
		})

	f.function("winogradOutput", "dst, src *float32, n, part, pixel, row int)",
		"computes Aᵀ·m·A of one tile; distances in bytes.", func(v *vec) {
			from := v.four("part")
			for y := range 2 {
				var m [3]four
				pointers := []reg.Register{}
				for i := range m {
					m[i] = from
					m[i].base = v.moved("src", "part", 4*(y+i))
					pointers = append(pointers, m[i].base)
				}
				d := four{base: v.moved("dst", "row", y), step: v.param("pixel")}
				pointers = append(pointers, d.base)
				v.walk(v.param("n"), pointers, func() {
					var s [4]reg.Register
					for x := range s {
						s[x] = v.load(m[0].at(x))
						for i := 1; i < 3; i++ {
							if y == 0 {
								s[x] = v.add(s[x], v.operand(m[i].at(x)))
							} else {
								s[x] = v.sub(s[x], v.operand(m[i].at(x)))
							}
						}
					}
					v.store(v.add(v.add(s[0], s[1]), s[2]), d.at(0))
					v.store(v.sub(v.sub(s[1], s[2]), s[3]), d.at(1))
				})
			}
			v.end()
		})
}
