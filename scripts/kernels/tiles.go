package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	files = append(files,
		file{"matmul_amx", func(c *build.Context) {
			for rows := 1; rows <= 2; rows++ {
				for cols := 1; cols <= 2; cols++ {
					tiles{c, rows, cols}.emit()
				}
			}
			tilePeak(c)
			systemRegister(c)
		}},
		file{"matmul_bf16", func(c *build.Context) {
			for rows := 1; rows <= 14; rows++ {
				matmul{Context: c, avx512: true, rows: rows, cols: 2, pairs: true}.emit()
				matmul{Context: c, avx512: true, rows: rows, cols: 2, masked: true, pairs: true}.emit()
				matmul{Context: c, avx512: true, rows: rows, cols: 1, masked: true, pairs: true}.emit()
			}
			peak{matmul{Context: c, avx512: true, rows: 14, cols: 2, pairs: true}}.emit("pairPeak")
		}})
}

// tiles is the batch-reduce kernel on AMX tiles: rows × cols tiles of C, TMM0
// to TMM3, rows tiles of A in TMM4 and TMM5, cols tiles of B in TMM6 and TMM7.
// What is configured about them lives within one call.
type tiles struct {
	*build.Context
	rows, cols int // in tiles
}

const tilePairs = 16 // pairs of a step: a row of A in a tile is 64 bytes

func (g tiles) emit() {
	begin(g.Context, fmt.Sprintf("tiles%dx%d", g.rows, g.cols), "func(t *byte, m, blocks int, config *byte)",
		fmt.Sprintf("computes blocks of %d rows of a tile from row m on.", 16*g.rows))
	tile, segment, left := reg.RDI, reg.RSI, reg.RCX
	a, aRow, a1 := reg.RAX, reg.RBX, reg.RDX
	b, bRow, steps := reg.R8, reg.R9, reg.R10
	m, c, c1, cRow, blocks := reg.R11, reg.R12, reg.R15, reg.R14, reg.R13

	g.Load(g.Param("config"), a)
	tileConfigure(g.Context, a)
	g.Load(g.Param("t"), tile)
	g.Load(g.Param("m"), m)
	g.Load(g.Param("blocks"), blocks)
	g.MOVQ(op.Mem{Base: tile, Disp: tileCStride}, cRow)
	g.SHLQ(op.Imm(2), cRow)
	g.MOVQ(op.U32(128), bRow)

	g.Label("block")
	g.MOVQ(m, c)
	g.IMULQ(cRow, c)
	g.ADDQ(op.Mem{Base: tile, Disp: tileC}, c)
	g.MOVQ(cRow, c1)
	g.SHLQ(op.Imm(4), c1)
	g.ADDQ(c, c1)
	g.CMPB(op.Mem{Base: tile, Disp: tileAccumulate}, op.Imm(0))
	g.JNE(op.LabelRef("load"))
	for i := range g.rows * g.cols {
		tileZero(g.Context, g.acc(i/g.cols, i%g.cols))
	}
	g.JMP(op.LabelRef("start"))
	g.Label("load")
	g.eachC(c, c1, func(acc byte, base reg.GPPhysical, disp int8) { tileLoad(g.Context, acc, base, cRow, disp) })

	g.Label("start")
	g.MOVQ(op.Mem{Base: tile, Disp: tileSegments}, segment)
	g.MOVQ(op.Mem{Base: tile, Disp: tileSegmentCount}, left)
	g.TESTQ(left, left)
	g.JZ(op.LabelRef("store"))
	g.Label("segment")
	g.MOVQ(op.Mem{Base: segment, Disp: segmentARow}, aRow)
	g.SHLQ(op.Imm(2), aRow)
	g.MOVQ(op.Mem{Base: tile, Disp: tileRow}, a)
	g.ADDQ(m, a)
	g.IMULQ(aRow, a)
	g.ADDQ(op.Mem{Base: segment, Disp: segmentA}, a)
	if g.rows == 2 {
		g.MOVQ(aRow, a1)
		g.SHLQ(op.Imm(4), a1)
		g.ADDQ(a, a1)
	}
	g.MOVQ(op.Mem{Base: segment, Disp: segmentB}, b)
	g.MOVQ(op.Mem{Base: segment, Disp: segmentK}, steps)
	g.SHRQ(op.Imm(4), steps)
	g.JZ(op.LabelRef("next"))
	g.Label("step")
	tileLoad(g.Context, 6, b, bRow, 0)
	tileLoad(g.Context, 4, a, aRow, 0)
	tileProduct(g.Context, g.acc(0, 0), 4, 6)
	if g.cols == 2 {
		tileLoad(g.Context, 7, b, bRow, 64)
		tileProduct(g.Context, g.acc(0, 1), 4, 7)
	}
	if g.rows == 2 {
		tileLoad(g.Context, 5, a1, aRow, 0)
		tileProduct(g.Context, g.acc(1, 0), 5, 6)
		if g.cols == 2 {
			tileProduct(g.Context, g.acc(1, 1), 5, 7)
		}
		g.ADDQ(op.Imm(64), a1)
	}
	g.ADDQ(op.Imm(64), a)
	g.ADDQ(op.U32(tilePairs*128), b)
	g.DECQ(steps)
	g.JNZ(op.LabelRef("step"))
	g.Label("next")
	g.ADDQ(op.Imm(segmentSize), segment)
	g.DECQ(left)
	g.JNZ(op.LabelRef("segment"))

	g.Label("store")
	g.eachC(c, c1, func(acc byte, base reg.GPPhysical, disp int8) { tileStore(g.Context, acc, base, cRow, disp) })
	g.ADDQ(op.U32(16*g.rows), m)
	g.DECQ(blocks)
	g.JNZ(op.LabelRef("block"))
	tileRelease(g.Context)
	g.RET()
}

func (g tiles) acc(row, col int) byte { return byte(2*row + col) }

func (g tiles) eachC(c, c1 reg.GPPhysical, f func(acc byte, base reg.GPPhysical, disp int8)) {
	for row, base := range []reg.GPPhysical{c, c1}[:g.rows] {
		for col := range g.cols {
			f(g.acc(row, col), base, int8(64*col))
		}
	}
}

// tilePeak is the tile kernel's arithmetic without its loads.
func tilePeak(c *build.Context) {
	begin(c, "tilePeak", "func(n int, config *byte)", "runs n rounds of products of four full tiles.")
	c.Load(c.Param("config"), reg.RAX)
	tileConfigure(c, reg.RAX)
	for i := range byte(8) {
		tileZero(c, i)
	}
	c.Load(c.Param("n"), reg.RCX)
	c.Label("round")
	for i := range byte(4) {
		tileProduct(c, i, 4+i/2, 6+i%2)
	}
	c.DECQ(reg.RCX)
	c.JNZ(op.LabelRef("round"))
	tileRelease(c)
	c.RET()
}

// systemRegister reads which states the system keeps for a process.
func systemRegister(c *build.Context) {
	begin(c, "xgetbv", "func() uint64", "returns XCR0, which states the system keeps for a process.")
	c.XORL(reg.ECX, reg.ECX)
	c.Instruction(&ir.Instruction{Opcode: "XGETBV"})
	c.SHLQ(op.Imm(32), reg.RDX)
	c.ORQ(reg.RDX, reg.RAX)
	c.Store(reg.RAX, c.ReturnIndex(0))
	c.RET()
}
