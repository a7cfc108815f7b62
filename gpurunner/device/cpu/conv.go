package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// conv is the task of Conv and ConvBack: an implicit product whose A rows are
// pixels of a zero-padded copy of a few source rows, made per chunk in
// scratch, so that no kernel position has an edge case.
//
// Backward-data is the same product: dx at a pixel sums dy over the positions
// that read it. Where the stride is s, pixels of the s·s residues of (row,
// column) are separate products ("phases"), each with the positions that fall
// on whole dy pixels; forward has one phase.
//
// A chunk is a block of rows of one image's phase by a block of panels.
type conv struct {
	d       *Device
	x       []float32 // what is read: [n,h,w,c]
	n, h, w int
	c       int
	upH     int // nearest-neighbour size that is read instead, or 0
	upW     int
	b       operand
	out     int // channels of y
	epi     epilogue
	outH    int
	outW    int
	lows    []low
	phases  []phase
	pieces  []piece

	padW   int  // columns of a padded row
	step   int  // padded pixels between neighbouring pixels of y
	rows   int  // y rows per chunk
	panels int  // per chunk
	blocks int  // panel blocks
	gather bool // positions are gathered into one long row of A
	kw     int
	taps   int
	wino   winograd
	pair   pairConv
}

// phase is one product of a conv.
type phase struct {
	y0, x0       int // first pixel of y
	rows, cols   int // pixels of y
	every        int // distance of its pixels in y
	top, left    int // source row and column under padded (0,0) for y pixel (0,0) of the phase
	height       int // padded rows that one row of y reads
	first, last  int // pieces
	chunk, parts int // first chunk, and how many per image
}

// gatherBelow is the number of channels below which kernel positions are
// gathered into one sum: conv_in has 4 or 9.
const gatherBelow = 16

// Conv implements device.Convolutions.
func (d *Device) Conv(y, x device.Array, w device.Weight, g device.ConvGeom, lows []device.Low, epi device.Epilogue) {
	const op = "Conv"
	wt := d.convWeight(op, w, g)
	outH, outW := g.OutH(), g.OutW()
	ym := d.mat(op, "y", d.picture(op, "y", y, g.N*outH*outW, g.O))
	if ym.rows == 0 || ym.cols == 0 {
		return
	}
	if g.KH == 1 && g.KW == 1 && g.Stride == 1 && g.Top|g.Left|g.Bottom|g.Right|g.UpH == 0 {
		d.Linear(y.Matrix(g.N*outH*outW, g.O), d.picture(op, "x", x, g.N*g.H*g.W, g.C), w, lows, epi)
		return
	}
	t := &d.tasks.conv
	*t = conv{d: d, n: g.N, h: g.H, w: g.W, c: g.C, upH: g.UpH, upW: g.UpW, out: g.O, outH: outH, outW: outW,
		lows: t.lows[:0], phases: t.phases[:0], pieces: t.pieces[:0], kw: g.KW, taps: wt.taps}
	t.x = d.f32n(op, "x", x, g.N*g.H*g.W*g.C)
	t.b = operand{from: panels, w: wt}
	t.epi = d.epilogue(op, epi, ym, 1)
	t.lows = d.lows(op, t.lows, lows, ym, false)
	if !wholeRows(t.lows, ym.rows) {
		badGeometry(op, g, "a low-rank term of some pixels")
	}
	_, srcW := g.Source()
	t.padW = max(srcW+g.Left+g.Right, (outW-1)*g.Stride+g.KW)
	t.step = g.Stride
	plain := len(t.lows) == 0 || d.pairs == nil && epi.Act == device.Identity && epi.Drop.P == 0 && epi.Beta == 0
	if !wt.pairs && plain && g.Stride == 1 && t.winogradFits() {
		t.lowsFirst(y.Matrix(ym.rows, ym.cols), lows, epi)
		t.phases = append(t.phases, phase{top: -g.Top, left: -g.Left})
		t.startWinograd(false)
		return
	}
	t.gather = g.C < gatherBelow
	if t.gather {
		t.pieces = cutTap(t.pieces, 0, 1, 0, wt.taps*g.C)
	} else {
		for tap := range wt.taps {
			a := (tap/g.KW*t.padW + tap%g.KW) * g.C
			t.pieces = cutTap(t.pieces, a, 1, tap, g.C)
		}
	}
	group(t.pieces)
	t.phases = append(t.phases, phase{rows: outH, cols: outW, every: 1, top: -g.Top, left: -g.Left,
		height: g.KH, last: len(t.pieces)})
	t.start()
}

// lowsFirst takes the low-rank terms, which Winograd's tiles have no place for,
// and the residual into y, and leaves the rest of the epilogue to be added.
func (t *conv) lowsFirst(y device.Matrix, lows []device.Low, epi device.Epilogue) {
	if len(t.lows) == 0 {
		return
	}
	first := device.Epilogue{Residual: epi.Residual}
	for _, l := range lows {
		if l.H.Cols == 0 {
			continue
		}
		t.d.MatMul(y, l.H, l.Up, false, true, 1, first)
		first = device.Epilogue{Beta: 1}
	}
	t.lows = t.lows[:0]
	epi.Residual, epi.Beta = device.Matrix{}, 1
	t.epi = t.d.epilogue("Conv", epi, t.epi.y, 1)
}

// ConvBack implements device.Convolutions.
func (d *Device) ConvBack(dx, dy device.Array, w device.Weight, g device.ConvGeom, beta float32) {
	const op = "ConvBack"
	wt := d.convWeight(op, w, g)
	outH, outW := g.OutH(), g.OutW()
	if g.UpH != 0 {
		flat := g
		flat.H, flat.W, flat.UpH, flat.UpW = g.UpH, g.UpW, 0, 0
		up := d.tempArray(g.N * g.UpH * g.UpW * g.C)
		if up.None() {
			return
		}
		d.ConvBack(up, dy, w, flat, 0)
		d.UpsampleBack(dx, up, g, beta)
		d.Release(up.Buf)
		return
	}
	xm := d.mat(op, "dx", d.picture(op, "dx", dx, g.N*g.H*g.W, g.C))
	if xm.rows == 0 || xm.cols == 0 {
		return
	}
	if g.KH == 1 && g.KW == 1 && g.Stride == 1 && g.Top|g.Left|g.Bottom|g.Right == 0 {
		d.LinearBack(dx.Matrix(g.N*g.H*g.W, g.C), d.picture(op, "dy", dy, g.N*g.H*g.W, g.O), w, nil, beta)
		return
	}
	t := &d.tasks.conv
	*t = conv{d: d, n: g.N, h: outH, w: outW, c: g.O, out: g.C, outH: g.H, outW: g.W,
		lows: t.lows[:0], phases: t.phases[:0], pieces: t.pieces[:0], kw: g.KW, taps: wt.taps, step: 1}
	t.x = d.f32n(op, "dy", dy, g.N*outH*outW*g.O)
	t.b = operand{from: transposed, w: wt}
	t.epi = d.epilogue(op, device.Epilogue{Beta: beta}, xm, 1)
	s := g.Stride
	if !wt.pairs && s == 1 && t.winogradFits() {
		t.phases = append(t.phases, phase{top: g.Top - 2, left: g.Left - 2})
		t.startWinograd(true)
		return
	}
	// The widest phase decides how wide padded rows are.
	reach := (g.KW-1)/s + 1
	t.padW = ceil(g.W, s) + reach
	for py := range min(s, g.H) {
		for px := range min(s, g.W) {
			t.backPhase(g, py, px)
		}
	}
	t.start()
}

// backPhase adds the product of dx pixels (py+s·i, px+s·j): position (ky, kx)
// reads dy (i + (py+top−ky)/s, j + (px+left−kx)/s) where both divide.
func (t *conv) backPhase(g device.ConvGeom, py, px int) {
	s := g.Stride
	p := phase{y0: py, x0: px, rows: ceil(g.H-py, s), cols: ceil(g.W-px, s), every: s, first: len(t.pieces)}
	// Positions congruent to py+top, the largest first row is the top.
	ky0, kx0 := (py+g.Top)%s, (px+g.Left)%s
	if ky0 < g.KH && kx0 < g.KW {
		kyEnd := ky0 + (g.KH-1-ky0)/s*s
		kxEnd := kx0 + (g.KW-1-kx0)/s*s
		p.top = (py + g.Top - kyEnd) / s
		p.left = (px + g.Left - kxEnd) / s
		p.height = (kyEnd-ky0)/s + 1
		for ky := ky0; ky < g.KH; ky += s {
			for kx := kx0; kx < g.KW; kx += s {
				a := ((kyEnd-ky)/s*t.padW + (kxEnd-kx)/s) * g.O
				t.pieces = cutTap(t.pieces, a, 1, ky*g.KW+kx, g.O)
			}
		}
		group(t.pieces[p.first:])
	}
	p.last = len(t.pieces)
	t.phases = append(t.phases, p)
}

func (d *Device) convWeight(op string, w device.Weight, g device.ConvGeom) *weight {
	wt := d.weight(op, w)
	if len(wt.shape) == 4 && (wt.shape[2] != g.KH || wt.shape[3] != g.KW) || wt.taps != g.KH*g.KW ||
		wt.out != g.O || wt.in != g.C {
		badGeometry(op, g, "a weight of another shape")
	}
	checkConv(op, g)
	return wt
}

func checkConv(op string, g device.ConvGeom) {
	if g.KH < 1 || g.KW < 1 || g.Stride < 1 || g.Top < 0 || g.Left < 0 || g.Bottom < 0 || g.Right < 0 ||
		g.N < 0 || g.H < 0 || g.W < 0 || g.C < 0 || g.O < 0 || (g.UpH == 0) != (g.UpW == 0) {
		badGeometry(op, g, "impossible")
	}
	if h, w := g.Source(); h+g.Top+g.Bottom < g.KH || w+g.Left+g.Right < g.KW {
		badGeometry(op, g, "the kernel is larger than the padded picture")
	}
}

// picture views a as a matrix of pixels of exactly rows × cols.
func (d *Device) picture(op, name string, a device.Array, rows, cols int) device.Matrix {
	if a.Len != rows*cols {
		badLen(op, name, a, rows*cols)
	}
	return a.Matrix(rows, cols)
}

// start cuts the work into chunks, by shape alone, and runs them.
func (t *conv) start() {
	if t.b.w.pairs {
		t.startPairs()
		return
	}
	t.epi.accumulate()
	all := ceil(t.out, kernel.Panel)
	widest := t.phases[0].cols // phases differ by one at most
	t.rows = max(1, chunkRows/max(widest, 1))
	t.rows = min(t.rows, t.phases[0].rows)
	t.panels = min(all, chunkPanels)
	for t.count(all) < t.d.wantChunks() {
		if t.panels > 1 {
			t.panels = (t.panels + 1) / 2
		} else if t.rows > 1 && t.rows*widest > 56 {
			t.rows = (t.rows + 1) / 2
		} else {
			break
		}
	}
	t.blocks = ceil(all, t.panels)
	t.b.widen = t.rows*widest > smallRows
	height := 0
	work := 0
	for _, p := range t.phases {
		height = max(height, p.height)
		for _, q := range t.pieces[p.first:p.last] {
			work += q.k * p.rows * p.cols
		}
	}
	chunks := t.count(all)
	need := scratchB + (t.rows*t.step+height)*t.padW*t.c
	if t.gather {
		need += t.rows * widest * t.taps * t.c
	}
	if !t.epi.direct {
		need += t.rows * widest * t.panels * kernel.Panel
	}
	if t.d.scratch(need) {
		t.d.fork(t, chunks, work*t.out*t.n)
	}
}

// count numbers the chunks of all phases and returns how many there are.
func (t *conv) count(all int) int {
	n := 0
	for i := range t.phases {
		p := &t.phases[i]
		p.chunk = n
		p.parts = ceil(p.rows, t.rows)
		n += p.parts * ceil(all, t.panels) * t.n
	}
	return n
}

func (t *conv) run(w *worker, chunk int) {
	if t.wino.on {
		t.runWinograd(w, chunk)
		return
	}
	if t.pair.on {
		t.runPairs(w, chunk)
		return
	}
	i := len(t.phases) - 1
	for t.phases[i].chunk > chunk {
		i--
	}
	p := &t.phases[i]
	// Neighbouring chunks share their rows, so a worker often has them.
	local := chunk - p.chunk
	j0 := local % t.blocks * t.panels
	part := local / t.blocks
	img, r0 := part/p.parts, part%p.parts*t.rows
	rows := min(t.rows, p.rows-r0)
	n0 := j0 * kernel.Panel
	n := min(t.panels*kernel.Panel, t.out-n0)

	src := w.scratch[scratchB:]
	src, rest := src[:(t.rows*t.step+p.height)*t.padW*t.c], src[(t.rows*t.step+p.height)*t.padW*t.c:]
	g := &w.grid
	*g = grid{aRow: t.step * t.c, aCol: 1, aRun: t.step * t.padW * t.c, runs: rows, m: p.cols, lowRun: p.cols, add: t.epi.add}
	if t.gather {
		g.aRow = t.taps * t.c
		g.aRun = g.aRow * p.cols
		var flat []float32
		flat, rest = rest[:t.rows*g.aRun], rest[t.rows*g.aRun:]
		if !t.d.pool.holds(w, chunk-local%t.blocks) {
			t.pad(src, p, img, r0, rows)
			t.flatten(flat, src, p, rows)
		}
		g.a = &flat[0]
	} else if p.last > p.first {
		if !t.d.pool.holds(w, chunk-local%t.blocks) {
			t.pad(src, p, img, r0, rows)
		}
		g.a = &src[0]
	}
	y := &t.epi.y
	first := (img*t.outH+p.y0+r0*p.every)*t.outW + p.x0 // row of y
	g.lowRow = first
	c := rest
	if t.epi.direct {
		c = y.p[first*y.stride+n0:]
		g.cStride, g.cRun = p.every*y.stride, p.every*t.outW*y.stride
	} else {
		g.cStride = t.panels * kernel.Panel
		g.cRun = p.cols * g.cStride
	}
	g.c = &c[0]
	t.d.multiply(w, g, &t.b, t.pieces[p.first:p.last], t.lows, j0, n, w.scratch)
	if t.epi.plain {
		return
	}
	for r := range rows {
		if p.every == 1 {
			t.epi.store(w, t.d.kernels, c[r*g.cRun:], g.cStride, first+r*t.outW, n0, p.cols, n)
			continue
		}
		for x := range p.cols {
			t.epi.store(w, t.d.kernels, c[r*g.cRun+x*g.cStride:], g.cStride, first+(r*t.outW+x)*p.every, n0, 1, n)
		}
	}
}

// pad copies the source rows that rows of y from r0 on read, with zeros
// around.
func (t *conv) pad(dst []float32, p *phase, img, r0, rows int) {
	h, w := t.h, t.w
	if t.upH != 0 {
		h, w = t.upH, t.upW
	}
	x0, x1 := max(0, p.left), min(w, p.left+t.padW) // columns that exist
	x1 = max(x0, x1)
	for i := range (rows-1)*t.step + p.height {
		row := dst[i*t.padW*t.c:][:t.padW*t.c]
		y := p.top + r0*t.step + i
		if y < 0 || y >= h {
			clear(row)
			continue
		}
		clear(row[:min(x0-p.left, t.padW)*t.c])
		clear(row[min(x1-p.left, t.padW)*t.c:])
		if x0 == x1 {
			continue
		}
		if t.upH == 0 {
			copy(row[(x0-p.left)*t.c:(x1-p.left)*t.c], t.x[((img*t.h+y)*t.w+x0)*t.c:])
			continue
		}
		from := t.x[(img*t.h+y*t.h/t.upH)*t.w*t.c:]
		for x := x0; x < x1; x++ {
			copy(row[(x-p.left)*t.c:][:t.c], from[x*t.w/t.upW*t.c:])
		}
	}
}

// flatten lays the kernel positions of each pixel side by side.
func (t *conv) flatten(dst, src []float32, p *phase, rows int) {
	at := 0
	line := t.kw * t.c
	for r := range rows {
		for x := range p.cols {
			for ky := range p.height {
				copy(dst[at:at+line], src[((r*t.step+ky)*t.padW+x*t.step)*t.c:])
				at += line
			}
		}
	}
}

// tempArray is temp as an argument for another operation.
func (d *Device) tempArray(floats int) device.Array {
	b, _ := d.temp(floats)
	if b == nil {
		return device.Array{}
	}
	return device.Array{Buf: b, Len: floats, Type: device.F32}
}
