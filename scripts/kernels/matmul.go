package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	files = append(files,
		file{"matmul_avx512", func(c *build.Context) {
			for rows := 1; rows <= 14; rows++ {
				matmul{Context: c, avx512: true, rows: rows, cols: 2}.emit()
				matmul{Context: c, avx512: true, rows: rows, cols: 2, masked: true}.emit()
				matmul{Context: c, avx512: true, rows: rows, cols: 1, masked: true}.emit()
			}
		}},
		file{"matmul_avx2", func(c *build.Context) {
			for rows := 1; rows <= 6; rows++ {
				matmul{Context: c, rows: rows, cols: 2}.emit()
				matmul{Context: c, rows: rows, cols: 2, masked: true}.emit()
			}
		}})
}

// Offsets in kernel.Tile and kernel.Segment; matmul_amd64.go asserts them.
const (
	tileC, tileCStride, tileRow, tileAccumulate, tileSegments, tileSegmentCount = 0, 8, 32, 40, 48, 56

	segmentA, segmentARow, segmentACol, segmentB, segmentBRow, segmentK, segmentType = 0, 8, 16, 24, 32, 40, 48

	segmentSize = 56
)

// matmul is one variant of the batch-reduce kernel: rows × cols vectors of C
// in registers. Every k broadcasts rows elements of A and loads cols vectors
// of B. The registers are named by hand: nothing may spill.
type matmul struct {
	*build.Context
	avx512 bool
	rows   int
	cols   int // vectors of C per row
	masked bool
	pairs  bool // elements of A and B are pairs of bf16, and C's old value begins the sum
}

func (g matmul) name() string {
	n, m := fmt.Sprintf("matMul%dx%d", g.rows, g.cols*g.lanes()), ""
	if g.pairs {
		n = fmt.Sprintf("matMulPairs%dx%d", g.rows, g.cols*g.lanes())
	}
	if g.masked {
		m = "Masked"
	}
	if g.avx512 {
		return n + m + "AVX512"
	}
	return n + m + "AVX2"
}

func (g matmul) lanes() int {
	if g.avx512 {
		return 16
	}
	return 8
}

func (g matmul) v(i int) reg.VecPhysical {
	if g.avx512 {
		return []reg.VecPhysical{reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10,
			reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15, reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22,
			reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}[i]
	}
	return []reg.VecPhysical{reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10,
		reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}[i]
}

func (g matmul) acc(row, col int) reg.VecPhysical { return g.v(row*g.cols + col) }
func (g matmul) b(col int) reg.VecPhysical        { return g.v(2*g.lanes() - 4 + col) }
func (g matmul) spare(i int) reg.VecPhysical      { return g.v(2*g.lanes() - 2 + i&1) }

// The rows of A are at odd multiples of the row stride, scaled by 1, 2, 4, 8:
// one pointer advances, whatever the number of rows.
var (
	matA       = reg.RAX
	matOdd     = map[int]reg.GPPhysical{1: reg.RBX, 3: reg.RCX, 5: reg.RDX, 7: reg.R8, 9: reg.R9, 11: reg.R10, 13: reg.R11}
	matB       = reg.R12
	matBRow    = reg.R13
	matK       = reg.R14
	matACol    = reg.R15
	matSegment = reg.RSI
	matLeft    = reg.RDI
)

func (g matmul) a(row int) op.Mem {
	if row == 0 {
		return op.Mem{Base: matA}
	}
	scale := uint8(1)
	for ; row&1 == 0; row /= 2 {
		scale *= 2
	}
	return op.Mem{Base: matA, Index: matOdd[row], Scale: scale}
}

func (g matmul) emit() {
	switch {
	case g.avx512 && g.masked:
		begin(g.Context, g.name(), "func(t *byte, m int, mask uint32)",
			fmt.Sprintf("computes rows m … m+%d of a tile; mask selects lanes of the last vector of columns.", g.rows-1))
	case g.avx512:
		begin(g.Context, g.name(), "func(t *byte, m int)", fmt.Sprintf("computes rows m … m+%d of a tile 32 columns wide.", g.rows-1))
	case g.masked:
		begin(g.Context, g.name(), "func(t *byte, m, col int, mask *int32)",
			fmt.Sprintf("computes rows m … m+%d of a tile from column col on; mask has 16 lanes, -1 for columns to compute.", g.rows-1))
	default:
		begin(g.Context, g.name(), "func(t *byte, m, col int)",
			fmt.Sprintf("computes rows m … m+%d of a tile, columns col … col+15.", g.rows-1))
	}
	for r := range g.rows {
		for c := range g.cols {
			g.zero(g.acc(r, c))
		}
	}
	if g.pairs {
		g.begin()
	}
	tile := reg.RAX
	g.Load(g.Param("t"), tile)
	g.MOVQ(op.Mem{Base: tile, Disp: tileSegments}, matSegment)
	g.MOVQ(op.Mem{Base: tile, Disp: tileSegmentCount}, matLeft)
	if g.avx512 && g.masked {
		g.Load(g.Param("mask"), reg.EBX)
		g.KMOVW(reg.EBX, reg.K1)
	}
	g.TESTQ(matLeft, matLeft)
	g.JZ(op.LabelRef("store"))

	g.Label("segment")
	g.operands()
	g.TESTQ(matK, matK)
	g.JZ(op.LabelRef("next"))
	if g.pairs {
		g.loop("pairs", 4, g.loadF32)
	} else {
		g.CMPB(op.Mem{Base: matSegment, Disp: segmentType}, op.Imm(1))
		g.JE(op.LabelRef("f16"))
		g.JA(op.LabelRef("bf16"))
		g.loop("f32", 4, g.loadF32)
		g.JMP(op.LabelRef("next"))
		g.loop("f16", 2, g.loadF16)
		g.JMP(op.LabelRef("next"))
		g.loop("bf16", 2, g.loadBF16)
	}
	g.Label("next")
	g.ADDQ(op.Imm(segmentSize), matSegment)
	g.DECQ(matLeft)
	g.JNZ(op.LabelRef("segment"))

	g.Label("store")
	g.store()
	g.VZEROUPPER()
	g.RET()
}

func (g matmul) zero(v reg.VecPhysical) {
	if g.avx512 {
		g.VPXORD(v, v, v)
	} else {
		g.VXORPS(v, v, v)
	}
}

// operands loads a segment's pointers and turns strides into bytes.
func (g matmul) operands() {
	field := func(disp int) op.Mem { return op.Mem{Base: matSegment, Disp: disp} }
	one := matOdd[1]
	g.MOVQ(field(segmentARow), one)
	g.SHLQ(op.Imm(2), one)
	g.Load(g.Param("t"), matA)
	g.MOVQ(op.Mem{Base: matA, Disp: tileRow}, matA)
	m, _ := g.Param("m").Resolve()
	g.ADDQ(m.Addr, matA)
	g.IMULQ(one, matA)
	g.ADDQ(field(segmentA), matA)
	// An odd multiple is a smaller one plus 2, 4 or 8.
	for _, o := range []struct{ n, from, plus int }{{3, 1, 2}, {5, 1, 4}, {7, 3, 4}, {9, 1, 8}, {11, 3, 8}, {13, 5, 8}} {
		if o.n < g.rows {
			g.LEAQ(op.Mem{Base: matOdd[o.from], Index: one, Scale: uint8(o.plus)}, matOdd[o.n])
		}
	}
	g.MOVQ(field(segmentB), matB)
	g.MOVQ(field(segmentBRow), matBRow)
	g.MOVQ(field(segmentK), matK)
	g.MOVQ(field(segmentACol), matACol)
	g.SHLQ(op.Imm(2), matACol)
}

// loop sums over the k of one segment, B elements being size bytes.
func (g matmul) loop(label string, size int, load func(src op.Mem, col int)) {
	g.Label(label)
	g.SHLQ(op.Imm(map[int]uint64{2: 1, 4: 2}[size]), matBRow)
	if !g.avx512 {
		col, _ := g.Param("col").Resolve()
		for range size {
			g.ADDQ(col.Addr, matB)
		}
		if g.masked && size == 4 {
			g.Load(g.Param("mask"), reg.R11)
		}
	}
	// Where neighbouring k of A are neighbours in memory, two k a round: the
	// additions to pointers compete with the FMAs for their ports.
	g.CMPQ(matACol, op.Imm(4))
	g.JNE(op.LabelRef(label + "one"))
	g.SUBQ(op.Imm(unrollK), matK)
	g.JB(op.LabelRef(label + "rest"))
	g.Label(label + "two")
	for u := range unrollK {
		g.step(u, load)
		if u&1 == 1 {
			g.LEAQ(op.Mem{Base: matB, Index: matBRow, Scale: 2}, matB)
		}
	}
	g.ADDQ(op.Imm(4*unrollK), matA)
	g.SUBQ(op.Imm(unrollK), matK)
	g.JAE(op.LabelRef(label + "two"))
	g.Label(label + "rest")
	g.ADDQ(op.Imm(unrollK), matK)
	g.JZ(op.LabelRef("next"))
	g.Label(label + "one")
	g.step(0, load)
	g.ADDQ(matBRow, matB)
	g.ADDQ(matACol, matA)
	g.DECQ(matK)
	g.JNZ(op.LabelRef(label + "one"))
}

const unrollK = 2

// step does the products of one k, u elements of A and u&1 rows of B on.
func (g matmul) step(u int, load func(src op.Mem, col int)) {
	for c := range g.cols {
		src := op.Mem{Base: matB}
		if u&1 == 1 {
			src.Index, src.Scale = matBRow, 1
		}
		load(src, c)
	}
	for r := range g.rows {
		s := g.spare(r)
		g.VBROADCASTSS(g.a(r).Offset(4*u), s)
		for c := range g.cols {
			if g.pairs {
				pairProduct(g.Context, s, g.b(c), g.acc(r, c))
			} else {
				g.VFMADD231PS(s, g.b(c), g.acc(r, c))
			}
		}
	}
}

func (g matmul) loadF32(src op.Mem, col int) {
	src = src.Offset(col * g.lanes() * 4)
	switch {
	case g.masked && !g.avx512:
		g.VMOVDQU(op.Mem{Base: reg.R11, Disp: col * 32}, g.b(col))
		g.VMASKMOVPS(src, g.b(col), g.b(col))
	case g.masked && col == g.cols-1:
		g.VMOVUPS_Z(src, reg.K1, g.b(col))
	default:
		g.VMOVUPS(src, g.b(col))
	}
}

func (g matmul) loadF16(src op.Mem, col int) {
	g.VCVTPH2PS(src.Offset(col*g.lanes()*2), g.b(col))
}

func (g matmul) loadBF16(src op.Mem, col int) {
	g.VPMOVZXWD(src.Offset(col*g.lanes()*2), g.b(col))
	g.VPSLLD(op.Imm(16), g.b(col), g.b(col))
}

// begin loads the accumulators from C where they are to be added to.
func (g matmul) begin() {
	tile, c, stride := reg.RAX, reg.RBX, reg.RCX
	if g.masked {
		g.Load(g.Param("mask"), reg.EBX)
		g.KMOVW(reg.EBX, reg.K1)
	}
	g.Load(g.Param("t"), tile)
	g.CMPB(op.Mem{Base: tile, Disp: tileAccumulate}, op.Imm(0))
	g.JE(op.LabelRef("begun"))
	g.MOVQ(op.Mem{Base: tile, Disp: tileCStride}, stride)
	g.Load(g.Param("m"), c)
	g.IMULQ(stride, c)
	g.SHLQ(op.Imm(2), c)
	g.ADDQ(op.Mem{Base: tile, Disp: tileC}, c)
	g.SHLQ(op.Imm(2), stride)
	for r := range g.rows {
		for col := range g.cols {
			src := op.Mem{Base: c, Disp: col * 64}
			if g.masked && col == g.cols-1 {
				g.VMOVUPS_Z(src, reg.K1, g.acc(r, col))
			} else {
				g.VMOVUPS(src, g.acc(r, col))
			}
		}
		if r < g.rows-1 {
			g.ADDQ(stride, c)
		}
	}
	g.Label("begun")
}

// store writes or adds the accumulators to C.
func (g matmul) store() {
	tile, c, stride := reg.RAX, reg.RBX, reg.RCX
	g.Load(g.Param("t"), tile)
	g.MOVQ(op.Mem{Base: tile, Disp: tileCStride}, stride)
	g.Load(g.Param("m"), c)
	g.IMULQ(stride, c)
	if !g.avx512 {
		col, _ := g.Param("col").Resolve()
		g.ADDQ(col.Addr, c)
		if g.masked {
			g.Load(g.Param("mask"), reg.R11)
			g.VMOVDQU(op.Mem{Base: reg.R11}, g.b(0))
			g.VMOVDQU(op.Mem{Base: reg.R11, Disp: 32}, g.b(1))
		}
	}
	g.SHLQ(op.Imm(2), c)
	g.ADDQ(op.Mem{Base: tile, Disp: tileC}, c)
	g.SHLQ(op.Imm(2), stride)
	if g.pairs {
		g.rowsOfC(c, stride, false)
		return
	}
	g.CMPB(op.Mem{Base: tile, Disp: tileAccumulate}, op.Imm(0))
	g.JNE(op.LabelRef("add"))
	g.rowsOfC(c, stride, false)
	g.VZEROUPPER()
	g.RET()
	g.Label("add")
	g.rowsOfC(c, stride, true)
}

func (g matmul) rowsOfC(c, stride reg.GPPhysical, add bool) {
	for r := range g.rows {
		for col := range g.cols {
			dst, acc, s := op.Mem{Base: c, Disp: col * g.lanes() * 4}, g.acc(r, col), g.spare(col)
			switch {
			case g.masked && !g.avx512:
				if add {
					g.VMASKMOVPS(dst, g.b(col), s)
					g.VADDPS(s, acc, acc)
				}
				g.VMASKMOVPS(acc, g.b(col), dst)
			case g.masked && col == g.cols-1:
				if add {
					g.VADDPS_Z(dst, acc, reg.K1, acc)
				}
				g.VMOVUPS(acc, reg.K1, dst)
			default:
				if add {
					g.VADDPS(dst, acc, acc)
				}
				g.VMOVUPS(acc, dst)
			}
		}
		if r < g.rows-1 {
			g.ADDQ(stride, c)
		}
	}
}
