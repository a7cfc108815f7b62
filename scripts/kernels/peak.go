package main

import (
	"github.com/mmcloughlin/avo/build"
	op "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	files = append(files, file{"peak", func(c *build.Context) {
		peak{matmul{Context: c, avx512: false, rows: 6, cols: 2}}.emit("fmaPeakAVX2")
		peak{matmul{Context: c, avx512: true, rows: 14, cols: 2}}.emit("fmaPeakAVX512")
	}})
}

// peak is the matrix kernel's arithmetic without its loads.
type peak struct{ matmul }

func (g peak) emit(name string) {
	begin(g.Context, name, "func(n int)", "runs n rounds of independent multiply-adds, one per accumulator of the largest matrix tile.")
	for i := range g.rows * g.cols {
		g.zero(g.v(i))
	}
	g.zero(g.spare(0))
	g.Load(g.Param("n"), reg.RCX)
	g.Label("round")
	for i := range g.rows * g.cols {
		if g.pairs {
			pairProduct(g.Context, g.spare(0), g.spare(0), g.v(i))
		} else {
			g.VFMADD231PS(g.spare(0), g.spare(0), g.v(i))
		}
	}
	g.DECQ(reg.RCX)
	g.JNZ(op.LabelRef("round"))
	g.VZEROUPPER()
	g.RET()
}
