package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("layout", func(f *family) {
		transpose(f, 4)
		transpose(f, 2)
		widen(f)
		narrow(f)
		zip(f)
	})
}

// transpose turns count square blocks, as wide as a vector, that lie side by
// side in src into blocks below each other in dst. Elements are 4 or 2 bytes
// wide; the latter are widened for the way through.
func transpose(f *family, size int) {
	name, params := "transposeBlocks", "dst, src *float32, dstStride, srcStride, count int)"
	if size == 2 {
		name, params = "transposeBlocks16", "dst, src *uint16, dstStride, srcStride, count int)"
	}
	f.function(name, params, "transposes square blocks along a row of src; strides in bytes.", func(v *vec) {
		dst, src, count := v.param("dst"), v.param("src"), v.param("count")
		loop := v.label("block")
		v.Label(loop)
		p := v.GP64()
		v.MOVQ(src, p)
		x := make([]reg.Register, v.lanes())
		for i := range x {
			x[i] = v.reg()
			if size == 2 {
				v.VPMOVZXWD(op.Mem{Base: p}, x[i])
			} else {
				v.VMOVUPS(op.Mem{Base: p}, x[i])
			}
			v.advance(p, "srcStride")
		}
		for i, r := range v.transposed(x) {
			switch {
			case size == 4:
				v.VMOVUPS(r, op.Mem{Base: dst})
			case v.wide:
				v.VPMOVDW(r, op.Mem{Base: dst})
			default:
				// Both halves packed into each other, then the used quarters.
				v.VPACKUSDW(r, r, r)
				v.VPERMQ(op.Imm(0x08), r, r)
				v.VMOVDQU(r.(reg.Vec).AsX().(op.Op), op.Mem{Base: dst})
			}
			if i < len(x)-1 {
				v.advance(dst, "dstStride")
			}
		}
		v.advance(dst, "dstStride")
		v.ADDQ(op.U32(size*v.lanes()), src)
		v.DECQ(count)
		v.JNZ(op.LabelRef(loop))
		v.end()
	})
}

// transposed transposes the square that the registers hold, overwriting them.
func (v *vec) transposed(x []reg.Register) []reg.Register {
	// Pairs, then pairs of pairs: quarters of 4×4 are transposed.
	n := len(x)
	pairs := make([]reg.Register, n)
	for i := 0; i < n; i += 2 {
		pairs[i], pairs[i+1] = v.reg(), v.reg()
		v.VUNPCKLPS(x[i+1], x[i], pairs[i])
		v.VUNPCKHPS(x[i+1], x[i], pairs[i+1])
	}
	for i := 0; i < n; i += 4 {
		for half := range 2 {
			a, b := pairs[i+half], pairs[i+2+half]
			v.VUNPCKLPD(b, a, x[i+2*half])
			v.VUNPCKHPD(b, a, x[i+2*half+1])
		}
	}
	// Now x[4g+c] holds, in its quarter q, column 4q+c of rows 4g … 4g+3.
	out := make([]reg.Register, n)
	for c := range 4 {
		if !v.wide {
			a, b := x[c], x[4+c]
			out[c], out[4+c] = pairs[c], pairs[4+c]
			v.VPERM2F128(op.Imm(0x20), b, a, out[c])
			v.VPERM2F128(op.Imm(0x31), b, a, out[4+c])
			continue
		}
		low := [2]reg.Register{pairs[c], pairs[4+c]}     // quarters 0 and 2 of two groups
		high := [2]reg.Register{pairs[8+c], pairs[12+c]} // quarters 1 and 3
		for h := range 2 {
			a, b := x[8*h+c], x[8*h+4+c]
			v.VSHUFF32X4(op.Imm(0x88), b, a, low[h])
			v.VSHUFF32X4(op.Imm(0xdd), b, a, high[h])
		}
		for q, from := range [][2]reg.Register{low, high} {
			out[4*q+c], out[8+4*q+c] = x[4*q+c], x[8+4*q+c]
			v.VSHUFF32X4(op.Imm(0x88), from[1], from[0], out[4*q+c])
			v.VSHUFF32X4(op.Imm(0xdd), from[1], from[0], out[8+4*q+c])
		}
	}
	return out
}

// vectorsOf runs body over whole vectors: n is a multiple of the lanes. The
// index counts elements.
func (v *vec) vectorsOf(n reg.Register, body func(i reg.Register)) {
	i := v.GP64()
	v.XORQ(i, i)
	loop := v.label("loop")
	v.Label(loop)
	body(i)
	v.ADDQ(op.U32(v.lanes()), i)
	v.CMPQ(i, n)
	v.JB(op.LabelRef(loop))
}

func widen(f *family) {
	for _, bf16 := range []bool{false, true} {
		name := map[bool]string{false: "widenF16", true: "widenBF16"}[bf16]
		f.function(name, "dst *float32, src *uint16, n int)", "converts n numbers, a multiple of the vector, not 0.", func(v *vec) {
			dst, src := v.param("dst"), v.param("src")
			v.vectorsOf(v.param("n"), func(i reg.Register) {
				r, from := v.reg(), op.Mem{Base: src, Index: i, Scale: 2}
				if bf16 {
					v.VPMOVZXWD(from, r)
					v.VPSLLD(op.Imm(16), r, r)
				} else {
					v.VCVTPH2PS(from, r)
				}
				v.VMOVUPS(r, op.Mem{Base: dst, Index: i, Scale: 4})
			})
			v.end()
		})
	}
}

func narrow(f *family) {
	f.function("narrowF16", "dst *uint16, src *float32, n int)", "rounds n numbers, a multiple of the vector, not 0.", func(v *vec) {
		dst, src := v.param("dst"), v.param("src")
		v.vectorsOf(v.param("n"), func(i reg.Register) {
			r := v.copy(op.Mem{Base: src, Index: i, Scale: 4})
			v.VCVTPS2PH(op.Imm(0), r, op.Mem{Base: dst, Index: i, Scale: 2})
		})
		v.end()
	})
	f.function("narrowBF16", "dst *uint16, src *float32, n int)", "rounds n numbers, a multiple of the vector, not 0.", func(v *vec) {
		dst, src := v.param("dst"), v.param("src")
		v.vectorsOf(v.param("n"), func(i reg.Register) {
			r := v.roundedBF16(op.Mem{Base: src, Index: i, Scale: 4})
			v.VPSRLD(op.Imm(16), r, r)
			to := op.Mem{Base: dst, Index: i, Scale: 2}
			if v.wide {
				v.VPMOVDW(r, to)
				return
			}
			v.VPACKUSDW(r, r, r)
			v.VPERMQ(op.Imm(0x08), r, r)
			v.VMOVDQU(r.(reg.Vec).AsX().(op.Op), to)
		})
		v.end()
	})
}

// roundedBF16 loads numbers whose upper halves are them as bf16.
func (v *vec) roundedBF16(src op.Mem) reg.Register {
	x := v.copy(src)
	// To even: add half less one, and one more where the last bit that stays
	// is set. A NaN gets its quiet bit instead.
	odd := v.reg()
	v.VPSRLD(op.Imm(16), x, odd)
	odd = v.and(odd, v.bits(1)).(reg.VecVirtual)
	sum := v.reg()
	v.VPADDD(v.bits(0x7fff), x, sum)
	v.VPADDD(odd, sum, sum)
	return v.where(isNaN, x, x, v.or(x, v.bits(0x400000)), sum)
}

// zip joins two rows to one of pairs: of numbers, rounded to bf16, or of
// 16-bit elements.
func zip(f *family) {
	f.function("zipBF16", "dst, a, b *float32, n int)", "rounds n numbers of each row, a multiple of the vector, not 0.", func(v *vec) {
		dst, a, b := v.param("dst"), v.param("a"), v.param("b")
		v.vectorsOf(v.param("n"), func(i reg.Register) {
			low := v.roundedBF16(op.Mem{Base: a, Index: i, Scale: 4})
			v.VPSRLD(op.Imm(16), low, low)
			high := v.roundedBF16(op.Mem{Base: b, Index: i, Scale: 4})
			v.VPSRLD(op.Imm(16), high, high)
			v.VPSLLD(op.Imm(16), high, high)
			v.VMOVUPS(v.or(low, high), op.Mem{Base: dst, Index: i, Scale: 4})
		})
		v.end()
	})
	f.function("zip16", "dst *float32, a, b *uint16, n int)", "joins n elements of each row, a multiple of the vector, not 0.", func(v *vec) {
		dst, a, b := v.param("dst"), v.param("a"), v.param("b")
		v.vectorsOf(v.param("n"), func(i reg.Register) {
			low, high := v.reg(), v.reg()
			v.VPMOVZXWD(op.Mem{Base: a, Index: i, Scale: 2}, low)
			v.VPMOVZXWD(op.Mem{Base: b, Index: i, Scale: 2}, high)
			v.VPSLLD(op.Imm(16), high, high)
			v.VMOVUPS(v.or(low, high), op.Mem{Base: dst, Index: i, Scale: 4})
		})
		v.end()
	})
}
