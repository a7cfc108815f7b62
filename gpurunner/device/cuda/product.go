//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// product is a matrix product about to be launched: y [rows,columns], summed
// over terms.
type product struct {
	rows, columns, terms int
	splits, perSplit     int
	part                 *buffer // [splits,rows,columns], if there are several
}

const (
	tile         = 64  // rows and columns of a block, as in products.cu
	wantBlocks   = 192 // enough for large GPUs; a constant, as the cut is part of the bits
	leastTerms   = 256 // of a split
	mostSplits   = 64
	chainOfTerms = 16 // splits start at multiples of a step
)

// split cuts the sum of a product with few elements, by shape alone.
func (d *Device) split(rows, columns, terms int) (p product, ok bool) {
	p = product{rows: rows, columns: columns, terms: terms, splits: 1, perSplit: terms}
	blocks := ceil(rows, tile) * ceil(columns, tile)
	if s := min(wantBlocks/max(blocks, 1), terms/leastTerms, mostSplits); s > 1 {
		p.perSplit = ceil(ceil(terms, s), chainOfTerms) * chainOfTerms
		p.splits = ceil(terms, p.perSplit)
	}
	if p.splits > 1 {
		if p.part = d.temp(p.splits * rows * columns * 4); p.part == nil {
			return p, false
		}
	}
	return p, true
}

func (p *product) grid() grid { return grid{ceil(p.rows, tile), ceil(p.columns, tile), p.splits} }

// args are PRODUCT_PARAMS.
func (p *product) args() []arg {
	part := uint64(0)
	if p.part != nil {
		part = p.part.address
	}
	return []arg{whole(p.rows), whole(p.columns), whole(p.terms), address(part), whole(p.perSplit)}
}

// run launches the kernel and, where the sum is split, the kernel that adds the
// parts and ends with last.
func (d *Device) run(kernel, reduce string, p product, args, last []arg) {
	all := append(append(p.args(), args...), last...)
	d.launch(kernel, p.grid(), 256, all...)
	if p.part == nil {
		return
	}
	end := []arg{address(p.part.address), whole(p.splits), whole(p.rows), whole(p.columns)}
	d.launch(reduce, line(p.rows*p.columns, 256), 256, append(end, last...)...)
	d.Release(p.part)
}

// low is one low-rank term: all that a product was given, side by side.
type low struct {
	h, up matrix
	temps []*buffer
}

// args are LOW_PARAMS.
func (l *low) args() []arg {
	return []arg{address(l.h.p), whole(l.h.stride), address(l.up.p), whole(l.up.stride), whole(l.h.cols)}
}

// lows joins the low-rank terms of a product with result y: the ranks of
// several are put side by side.
func (d *Device) lows(op string, lows []device.Low, y matrix, back bool) (l low, ok bool) {
	var hs, ups []matrix
	total := 0
	for _, x := range lows {
		h := d.matOf(op, "h", x.H, y.rows, x.H.Cols)
		if h.cols == 0 {
			continue
		}
		if back {
			ups = append(ups, d.matOf(op, "down", x.Up, h.cols, y.cols))
		} else {
			ups = append(ups, d.matOf(op, "up", x.Up, y.cols, h.cols))
		}
		hs = append(hs, h)
		total += h.cols
	}
	switch len(hs) {
	case 0:
		return low{}, true
	case 1:
		return low{h: hs[0], up: ups[0]}, true
	}
	h, up := d.temp(y.rows*total*4), (*buffer)(nil)
	if h == nil {
		return low{}, false
	}
	if up = d.temp(y.cols * total * 4); up == nil {
		d.Release(h)
		return low{}, false
	}
	l = low{temps: []*buffer{h, up},
		h:  matrix{p: h.address, rows: y.rows, cols: total, stride: total},
		up: matrix{p: up.address, rows: y.cols, cols: total, stride: total}}
	if back {
		l.up = matrix{p: up.address, rows: total, cols: y.cols, stride: y.cols}
	}
	at := 0
	for i := range hs {
		d.copyRows(l.h.columns(at, hs[i].cols), hs[i], 0)
		if back {
			d.copyRows(l.up.below(at, hs[i].cols), ups[i], 0)
		} else {
			d.copyRows(l.up.columns(at, hs[i].cols), ups[i], 0)
		}
		at += hs[i].cols
	}
	return l, true
}

func (m matrix) columns(off, n int) matrix {
	return matrix{p: m.p + uint64(4*off), rows: m.rows, cols: n, stride: m.stride}
}

func (m matrix) below(off, n int) matrix {
	return matrix{p: m.p + uint64(4*off*m.stride), rows: n, cols: m.cols, stride: m.stride}
}

// Linear implements device.Products.
func (d *Device) Linear(y, x device.Matrix, w device.Weight, lows []device.Low, epi device.Epilogue) {
	const op = "Linear"
	wt := d.matrixWeight(op, w)
	ym := d.matOf(op, "y", y, x.Rows, wt.out)
	xm := d.matOf(op, "x", x, x.Rows, wt.in)
	last := d.epilogue(op, epi, ym, 1)
	d.weighted("linear", wt, ym, xm, wt.in, lows, last, false)
}

// LinearBack implements device.Products.
func (d *Device) LinearBack(dx, dy device.Matrix, w device.Weight, lows []device.Low, beta float32) {
	const op = "LinearBack"
	wt := d.matrixWeight(op, w)
	ym := d.matOf(op, "dx", dx, dy.Rows, wt.in)
	xm := d.matOf(op, "dy", dy, dy.Rows, wt.out)
	last := d.epilogue(op, device.Epilogue{Beta: beta}, ym, 1)
	d.weighted("linear_back", wt, ym, xm, wt.out, lows, last, true)
}

// weighted launches a product of x with a frozen matrix.
func (d *Device) weighted(kernel string, wt *weight, y, x matrix, terms int, lows []device.Low, last []arg, back bool) {
	l, ok := d.lows(kernel, lows, y, back)
	if !ok || y.rows == 0 || y.cols == 0 {
		return
	}
	if p, ok := d.split(y.rows, y.cols, terms); ok {
		args := append([]arg{address(x.p), whole(x.stride), address(wt.buf.address)}, l.args()...)
		d.run(kernel+wt.suffix(), "reduce_splits", p, args, last)
	}
	for _, t := range l.temps {
		d.Release(t)
	}
}

// MatMul implements device.Products.
func (d *Device) MatMul(c, a, b device.Matrix, transA, transB bool, alpha float32, epi device.Epilogue) {
	const op = "MatMul"
	m, k, n := a.Rows, a.Cols, b.Cols
	if transA {
		m, k = k, m
	}
	want := [2]int{k, n}
	if transB {
		n = b.Rows
		want = [2]int{n, k}
	}
	am, bm := d.mat(op, "a", a), d.matOf(op, "b", b, want[0], want[1])
	cm := d.matOf(op, "c", c, m, n)
	last := d.epilogue(op, epi, cm, alpha)
	if m == 0 || n == 0 {
		return
	}
	p, ok := d.split(m, n, k)
	if !ok {
		return
	}
	kernel := fmt.Sprintf("matmul_%c%c", letter(transA), letter(transB))
	d.run(kernel, "reduce_splits", p, []arg{address(am.p), whole(am.stride), address(bm.p), whole(bm.stride)}, last)
}

func letter(trans bool) byte {
	if trans {
		return 't'
	}
	return 'n'
}
