package main

import (
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("philox", func(f *family) {
		f.function("philox", "dst *uint32, blocks int, draw *byte, first uint32)",
			"fills dst with whole blocks, a multiple of the lanes, not 0.", func(v *vec) {
				dst := v.param("dst")
				v.philoxBlocks(func(words []reg.Register) {
					for i, w := range words {
						v.VMOVUPS(w, op.Mem{Base: dst, Disp: i * v.bytes()})
					}
					v.ADDQ(op.U32(4*v.bytes()), dst)
				})
				v.end()
			})
		f.function("dropout", "y, x *float32, blocks int, draw *byte, first, threshold uint32, scale float32)",
			"keeps and scales the elements whose number reaches the threshold; blocks as in philox.", func(v *vec) {
				y, x, threshold, scale := v.param("y"), v.param("x"), v.scalar("threshold"), v.scalar("scale")
				v.philoxBlocks(func(words []reg.Register) {
					for i, w := range words {
						at := func(base reg.Register) op.Mem { return op.Mem{Base: base, Disp: i * v.bytes()} }
						v.VMOVUPS(v.keepFrom(threshold, w, v.mul(scale, at(x))), at(y))
					}
					v.ADDQ(op.U32(4*v.bytes()), x)
					v.ADDQ(op.U32(4*v.bytes()), y)
				})
				v.end()
			})
	})
}

// keepFrom returns x where the word is at least the threshold, else zero.
func (v *vec) keepFrom(threshold, word, x reg.Register) reg.Register {
	r := v.reg()
	if v.wide {
		k := v.K()
		v.VPCMPUD(op.Imm(5), threshold, word, k) // not less
		v.VMOVAPS_Z(x, k, r)
		return r
	}
	v.VPMAXUD(threshold, word, r)
	v.VPCMPEQD(word, r, r)
	v.VANDPS(x, r, r)
	return r
}

// philoxBlocks computes as many blocks at once as there are lanes, and hands
// their words on in the order of memory.
func (v *vec) philoxBlocks(use func(words []reg.Register)) {
	draw, left := v.param("draw"), v.param("blocks")
	// kernel.Draw: the key, then the counter.
	key0, key1 := op.Mem{Base: draw}, op.Mem{Base: draw, Disp: 4}
	last := v.reg()
	v.VPADDD(v.family.table("laneNumbers", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), v.scalar("first"), last)
	if v.wide {
		t := v.GP32()
		v.MOVL(op.U32(0xaaaa), t)
		v.KMOVW(t, reg.K7) // for oddLanes
	}
	loop := v.label("blocks")
	v.Label(loop)
	var c [4]reg.Register
	for i := range 3 {
		c[i] = v.reg()
		v.VPBROADCASTD(op.Mem{Base: draw, Disp: 8 + 4*i}, c[i])
	}
	c[3] = v.copy(last)
	k := [2]reg.Register{v.reg(), v.reg()}
	v.VPBROADCASTD(key0, k[0])
	v.VPBROADCASTD(key1, k[1])
	for round := range 10 {
		hi0, lo0 := v.product(c[0], 0xD2511F53)
		hi1, lo1 := v.product(c[2], 0xCD9E8D57)
		c = [4]reg.Register{v.xor(v.xor(hi1, c[1]), k[0]), lo1, v.xor(v.xor(hi0, c[3]), k[1]), lo0}
		if round < 9 {
			v.VPADDD(v.bits(0x9E3779B9), k[0], k[0])
			v.VPADDD(v.bits(0xBB67AE85), k[1], k[1])
		}
	}
	use(v.interleave(c))
	v.VPADDD(v.bits(uint32(v.lanes())), last, last)
	v.SUBQ(op.U32(v.lanes()), left)
	v.JNZ(op.LabelRef(loop))
}

// product returns the upper and lower halves of a·m in every lane.
func (v *vec) product(a reg.Register, m uint32) (hi, lo reg.Register) {
	even, odd := v.reg(), v.reg()
	v.VPSRLQ(op.Imm(32), a, odd)
	v.VPMULUDQ(v.bits(m), a, even)
	v.VPMULUDQ(v.bits(m), odd, odd)
	h, l := v.reg(), v.reg()
	v.VPSRLQ(op.Imm(32), even, h)
	v.VPSLLQ(op.Imm(32), odd, l)
	return v.oddLanes(odd, h), v.oddLanes(l, even)
}

// oddLanes takes the odd lanes from odd, the even ones from even, which is
// overwritten.
func (v *vec) oddLanes(odd, even reg.Register) reg.Register {
	if !v.wide {
		v.VPBLENDD(op.Imm(0xaa), odd, even, even)
		return even
	}
	v.VMOVDQA32(odd, reg.K7, even)
	return even
}

// interleave turns four vectors of words, a block per lane, into memory order.
func (v *vec) interleave(c [4]reg.Register) []reg.Register {
	var pair, x [4]reg.Register
	for i := range 4 {
		pair[i], x[i] = v.reg(), v.reg()
	}
	v.VUNPCKLPS(c[1], c[0], pair[0])
	v.VUNPCKHPS(c[1], c[0], pair[1])
	v.VUNPCKLPS(c[3], c[2], pair[2])
	v.VUNPCKHPS(c[3], c[2], pair[3])
	for h := range 2 {
		v.VUNPCKLPD(pair[2+h], pair[h], x[2*h])
		v.VUNPCKHPD(pair[2+h], pair[h], x[2*h+1])
	}
	// Quarter q of x[i] is block 4q+i.
	out := make([]reg.Register, 4)
	for i := range out {
		out[i] = v.reg()
	}
	if !v.wide {
		for h := range 2 {
			v.VPERM2F128(op.Imm(0x20), x[2*h+1], x[2*h], out[h])
			v.VPERM2F128(op.Imm(0x31), x[2*h+1], x[2*h], out[2+h])
		}
		return out
	}
	for q, imm := range []uint64{0x88, 0xdd} {
		a, b := v.reg(), v.reg()
		v.VSHUFF32X4(op.Imm(imm), x[1], x[0], a)
		v.VSHUFF32X4(op.Imm(imm), x[3], x[2], b)
		v.VSHUFF32X4(op.Imm(0x88), b, a, out[q])
		v.VSHUFF32X4(op.Imm(0xdd), b, a, out[q+2])
	}
	return out
}
