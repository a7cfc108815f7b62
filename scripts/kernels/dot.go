package main

import (
	"fmt"

	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	vectors("dot", func(f *family) {
		rows, cols := 3, 2
		if f.wide {
			rows, cols = 6, 4
		}
		for _, m := range []int{rows, 1} {
			for _, n := range []int{cols, 1} {
				dotRows(f, m, n)
			}
		}
	})
}

// dotRows computes an m×n block of A·Bᵀ, both row-major, each element in 16
// lanes along k.
func dotRows(f *family, m, n int) {
	f.function(fmt.Sprintf("dot%dx%d", m, n), "c, a, b *float32, k, cStride, aStride, bStride int, add uint32)",
		fmt.Sprintf("computes %d×%d elements of A·Bᵀ, added to C if add is -1 (0: not); strides in bytes.", m, n), func(v *vec) {
			acc := make([][][]reg.Register, m) // row, column, part of the 16 lanes
			for i := range acc {
				for range n {
					acc[i] = append(acc[i], v.accumulators(16))
				}
			}
			a, b := v.rowBases("a", "aStride", m), v.rowBases("b", "bStride", n)
			v.reduce(v.param("k"), 16/v.lanes(), func(part int, at func(reg.Register) op.Mem) {
				bv := make([]reg.Register, n)
				for j := range bv {
					bv[j] = v.load(at(b[j]))
				}
				for i := range m {
					av := v.load(at(a[i]))
					for j := range n {
						v.addMul(acc[i][j][part], av, bv[j])
					}
				}
			})
			v.storeDots(acc)
			v.end()
		})
}

// rowBases returns the addresses of n rows.
func (v *vec) rowBases(base, stride string, n int) []reg.Register {
	r := []reg.Register{v.param(base)}
	for i := 1; i < n; i++ {
		p := v.GP64()
		v.MOVQ(r[i-1], p)
		v.advance(p, stride)
		r = append(r, p)
	}
	return r
}

func (v *vec) storeDots(acc [][][]reg.Register) {
	c := v.param("c")
	add := v.XMM()
	p, _ := v.Param("add").Resolve()
	v.VBROADCASTSS(p.Addr, add)
	mask := v.K()
	if v.wide {
		v.VPMOVD2M(add, mask)
	}
	for i, row := range acc {
		if len(row) == 4 {
			sum, old := v.fourTrees(row), v.XMM()
			v.VMOVUPS_Z(op.Mem{Base: c}, mask, old)
			v.VADDPS(old, sum, sum)
			v.VMOVUPS(sum, op.Mem{Base: c})
		} else {
			for j, lanes := range row {
				sum, old := v.tree(lanes, v.VADDPS), v.XMM()
				v.VMOVSS(op.Mem{Base: c, Disp: 4 * j}, old)
				v.VANDPS(add, old, old)
				v.VADDSS(old, sum, sum)
				v.VMOVSS(sum, op.Mem{Base: c, Disp: 4 * j})
			}
		}
		if i < len(acc)-1 {
			v.advance(c, "cStride")
		}
	}
}

// fourTrees is tree for four 16-lane accumulators at once: each step folds all
// four, in the same order. It returns their sums in the lanes of one register.
func (v *vec) fourTrees(row [][]reg.Register) reg.Register {
	// pick gathers 128-bit quarters: two of a, then two of b.
	pick := func(imm uint64, a, b reg.Register) reg.Register {
		r := v.ZMM()
		v.VSHUFF32X4(op.Imm(imm), b, a, r)
		return r
	}
	fold := func(a, b reg.Register) reg.Register { return v.add(a, b) }
	// Lanes j and j+8: quarters 0 1 of both onto quarters 2 3.
	ab := fold(pick(0x44, row[0][0], row[1][0]), pick(0xee, row[0][0], row[1][0]))
	cd := fold(pick(0x44, row[2][0], row[3][0]), pick(0xee, row[2][0], row[3][0]))
	// Lanes j and j+4: the even quarters onto the odd ones.
	all := fold(pick(0x88, ab, cd), pick(0xdd, ab, cd))
	for _, imm := range []uint64{0x4e, 0xb1} { // j+2, j+1, within each quarter
		t := v.ZMM()
		v.VSHUFPS(op.Imm(imm), all, all, t)
		all = fold(all, t)
	}
	// Lane 0 of each quarter, side by side.
	index, r := v.ZMM(), v.ZMM()
	v.VMOVDQU32(v.family.table("everyFourth", 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), index)
	v.VPERMPS(all, index, r)
	return r.AsX()
}
