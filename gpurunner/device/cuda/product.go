//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// product is a matrix product about to be launched: y [rows,columns], summed
// over terms.
type product struct {
	kernel               string // without type and tile
	rows, columns, terms int
	splits, perSplit     int
	part                 *buffer // [splits,rows,columns], if there are several
	tile                 tile
	fast                 fast
}

// tile is what a block computes: see products.cu, mma_products.cu and mma_wide.cu.
type tile struct {
	rows, columns int
	name          string // ends the kernel's name
	shared        int    // bytes of dynamic shared memory
}

var (
	smallTile = tile{rows: 64, columns: 64, name: "64"}
	largeTile = tile{rows: 128, columns: 128, name: "128"} // of large products on tensor cores
	wideTile  = tile{rows: 128, columns: 256, name: "256", shared: 2 * (128 + 256) * 40 * 2}
)

const (
	largeFrom  = 96  // large tiles
	wideFrom   = 128 // wide ones: as many as an H100 has multiprocessors, nearly
	wideArch   = 90  // the first compute capability, ten times, with wide tiles
	wantBlocks = 192 // enough for large GPUs; a constant, as the cut is part of the bits
	leastTerms = 256 // of a split
	mostSplits = 64
	stepTerms  = 32 // splits start at multiples of a step
)

// fast tells a tensor core's kernel which of its operands, A, B, and those of
// the low-rank term, come in aligned runs: see mma_products.cu.
type fast int

const (
	fastA fast = 1 << iota
	fastB
	fastLow
	fastUp
	fastAll = fastA | fastB | fastLow | fastUp
)

// aligned is bit where runs of n elements that begin at multiples of n lie in
// aligned memory: rows stride apart, of extent elements.
func aligned(bit fast, p uint64, stride, extent, n int) fast {
	if p%16 == 0 && stride%n == 0 && extent%n == 0 {
		return bit
	}
	return 0
}

// tensorCores says that products run on them.
func (d *Device) tensorCores() bool { return d.options.Precision != device.F32 }

func (t tile) count(rows, columns int) int { return ceil(rows, t.rows) * ceil(columns, t.columns) }

// largest is the largest tile of which there are enough to go round, and that
// computes no more outside the product than the next smaller.
func (d *Device) largest(rows, columns int) tile {
	switch {
	case d.info.Capability >= wideArch && wideTile.count(rows, columns) >= wideFrom && ceil(columns, largeTile.columns)%2 == 0:
		return wideTile
	case largeTile.count(rows, columns) >= largeFrom:
		return largeTile
	}
	return smallTile
}

// split cuts the sum of a product with few elements, by shape alone. large
// allows the large tiles, whose kernels take aligned operands only.
func (d *Device) split(kernel string, rows, columns, terms int, large bool) (p product, ok bool) {
	p = product{kernel: kernel, rows: rows, columns: columns, terms: terms, splits: 1, perSplit: terms, tile: smallTile}
	if large && d.tensorCores() {
		p.tile = d.largest(rows, columns)
	}
	blocks := p.tile.count(rows, columns)
	if s := min(wantBlocks/max(blocks, 1), terms/leastTerms, mostSplits); s > 1 {
		p.perSplit = ceil(ceil(terms, s), stepTerms) * stepTerms
		p.splits = ceil(terms, p.perSplit)
	}
	if p.splits > 1 {
		if p.part = d.temp(p.splits * rows * columns * 4); p.part == nil {
			return p, false
		}
	}
	return p, true
}

// args are PRODUCT_PARAMS.
func (d *Device) productArgs(p *product) []arg {
	part := uint64(0)
	if p.part != nil {
		part = p.part.address
	}
	args := []arg{whole(p.rows), whole(p.columns), whole(p.terms), address(part), whole(p.perSplit)}
	if d.tensorCores() {
		args = append(args, whole(int(p.fast)))
	}
	return args
}

// run launches a product, and then, where its sum is split, the kernel that adds
// the parts, which ends with end instead of the product's last.
func (d *Device) run(p product, reduce string, args, last, end []arg) {
	g := grid{ceil(p.rows, p.tile.rows), ceil(p.columns, p.tile.columns), p.splits}
	d.launchShared(p.kernel, g, 256, p.tile.shared, append(append(d.productArgs(&p), args...), last...)...)
	if p.part == nil {
		return
	}
	sum := []arg{address(p.part.address), whole(p.splits), whole(p.rows), whole(p.columns)}
	d.launch(reduce, line(p.rows*p.columns, 256), 256, append(sum, end...)...)
	d.Release(p.part)
}

// weightKernel names the kernel of a product with a frozen weight.
func (d *Device) weightKernel(p *product, w *weight) {
	if d.tensorCores() {
		p.kernel = fmt.Sprintf("mma_%s_%v_%s", p.kernel, w.kind, p.tile.name)
	} else {
		p.kernel = fmt.Sprintf("%s_%v", p.kernel, w.kind)
	}
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
// several are put side by side, with zeros for the rows that one does not have.
func (d *Device) lows(op string, lows []device.Low, y matrix, back bool) (l low, ok bool) {
	var hs, ups []matrix
	var froms []int
	total, some := 0, false
	for _, x := range lows {
		h := d.mat(op, "h", x.H)
		if x.From < 0 || x.From+h.rows > y.rows {
			panic(fmt.Sprintf("cuda: %s: a low-rank term of rows %d to %d of %d", op, x.From, x.From+h.rows-1, y.rows))
		}
		if h.rows*h.cols == 0 {
			continue
		}
		some = some || h.rows < y.rows
		froms = append(froms, x.From)
		if back {
			ups = append(ups, d.matOf(op, "down", x.Up, h.cols, y.cols))
		} else {
			ups = append(ups, d.matOf(op, "up", x.Up, y.cols, h.cols))
		}
		hs = append(hs, h)
		total += h.cols
	}
	switch {
	case len(hs) == 0:
		return low{}, true
	case len(hs) == 1 && !some:
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
	if some && d.err == nil {
		d.note(opFill32, h.address, 0, uint64(y.rows*total))
	}
	at := 0
	for i := range hs {
		own := l.h.below(froms[i], hs[i].rows).columns(at, hs[i].cols)
		d.copyRows(own, hs[i], 0)
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
	fast := aligned(fastA, x.p, x.stride, terms, 4) | aligned(fastB, wt.buf.address, wt.in, wt.in, 8) | l.fast(back)
	if p, ok := d.split(kernel, y.rows, y.cols, terms, fast == fastAll); ok {
		d.weightKernel(&p, wt)
		p.fast = fast
		d.run(p, "reduce_splits", append([]arg{address(x.p), whole(x.stride), address(wt.buf.address)}, l.args()...), last, last)
	}
	for _, t := range l.temps {
		d.Release(t)
	}
}

// fast says which of the low-rank term's factors come in aligned runs; where there
// is no such term, all do.
func (l *low) fast(back bool) fast {
	up := aligned(fastUp, l.up.p, l.up.stride, l.h.cols, 4)
	if back {
		up = aligned(fastUp, l.up.p, l.up.stride, l.up.cols, 4)
	}
	return up | aligned(fastLow, l.h.p, l.h.stride, l.h.cols, 4)
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
	d.matmul(cm, am, bm, transA, transB, k, last)
}

// matmul launches a product of live matrices.
func (d *Device) matmul(c, a, b matrix, transA, transB bool, terms int, last []arg) {
	if c.rows == 0 || c.cols == 0 {
		return
	}
	p, ok := d.split(fmt.Sprintf("matmul_%c%c", letter(transA), letter(transB)), c.rows, c.cols, terms, false)
	if !ok {
		return
	}
	if d.tensorCores() {
		p.kernel = fmt.Sprintf("mma_%s_%v", p.kernel, d.options.Precision)
		// Rows of four along what is contiguous: a's columns and b's.
		p.fast = aligned(fastA, a.p, a.stride, a.cols, 4) | aligned(fastB, b.p, b.stride, b.cols, 4)
	}
	d.run(p, "reduce_splits", []arg{address(a.p), whole(a.stride), address(b.p), whole(b.stride)}, last, last)
}

func letter(trans bool) byte {
	if trans {
		return 't'
	}
	return 'n'
}
