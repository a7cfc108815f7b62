package cpu

import (
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// winograd is what a conv adds to run as F(2×2,3×3) (Lavin and Gray,
// "Fast algorithms for convolutional neural networks", arXiv:1509.09308):
// y = Aᵀ[Σ (G·g·Gᵀ)∘(Bᵀ·d·B)]A over tiles of 2×2 pixels of y, which takes 16
// products where direct convolution takes 36. Its error against float64 is
// below twice that of direct convolution.
//
// A chunk is a block of tiles by a block of panels. Per block of channels the
// tiles' inputs are transformed to v, and per panel the weights to u; the 16
// products are summed in m and transformed back at the end.
type winograd struct {
	on            bool
	cols, rows    int // tiles of a block
	across, down  int // blocks of a picture
	images        int // pictures of a block
	tiles         int // of a block: images·rows·cols
	block         int // channels of a block
	mirrored      bool
	u, v, m, flat int // offsets in scratch
}

// Winograd wins where transforming weights and inputs is little beside the
// products. The choice depends on shape alone, as it shows in the bits.
const (
	winogradChannels = 96  // least of input and output
	winogradTiles    = 32  // least in a block
	winogradBlock    = 128 // channels
	winogradWant     = 96  // tiles of a block, about
)

// winogradFits decides whether a 3×3 convolution with stride 1 runs this way,
// and cuts it.
func (t *conv) winogradFits() bool {
	if t.taps != 9 || t.kw != 3 || t.c < winogradChannels || t.out < winogradChannels {
		return false
	}
	g := &t.wino
	*g = winograd{}
	down, across := ceil(t.outH, 2), ceil(t.outW, 2)
	g.across = ceil(across, winogradWant)
	g.cols = ceil(across, g.across)
	g.down = ceil(down, max(1, winogradWant/g.cols))
	g.rows = ceil(down, g.down)
	g.images = 1
	if g.down == 1 && g.across == 1 {
		parts := ceil(t.n, max(1, winogradWant/(g.rows*g.cols)))
		g.images = ceil(t.n, parts)
	}
	g.tiles = g.images * g.rows * g.cols
	g.block = ceil(t.c, ceil(t.c, winogradBlock))
	if t.b.from == transposed {
		g.block = roundUp(g.block, kernel.Panel)
	}
	g.on = g.tiles >= winogradTiles
	return g.on
}

// startWinograd runs the conv; left and top are those of its only phase.
func (t *conv) startWinograd(mirrored bool) {
	g := &t.wino
	g.mirrored = mirrored
	all := ceil(t.out, kernel.Panel)
	t.padW = 2*g.cols + 2
	t.step = 1
	places := ceil(t.n, g.images) * g.down * g.across
	t.panels = min(all, 5)
	for t.panels > 1 && places*ceil(all, t.panels) < wantChunks {
		t.panels--
	}
	t.blocks = ceil(all, t.panels)
	panel := g.block * kernel.Panel
	g.u = scratchB
	g.v = g.u + (9+14)*panel + panel/2
	g.m = g.v + (16+4)*g.tiles*g.block
	g.flat = g.m + 16*g.tiles*t.panels*kernel.Panel
	if t.d.scratch(g.flat + g.images*(2*g.rows+2)*t.padW*t.c) {
		t.d.fork(t, places*t.blocks, 4*t.n*t.outH*t.outW*t.out*t.c)
	}
}

func (t *conv) runWinograd(w *worker, chunk int) {
	g := &t.wino
	j0 := chunk % t.blocks * t.panels
	place := chunk / t.blocks
	bx, by := place%g.across*g.cols, place/g.across%g.down*g.rows
	img0 := place / g.across / g.down * g.images
	images := min(g.images, t.n-img0)
	n := min(t.panels*kernel.Panel, t.out-j0*kernel.Panel)
	width := t.panels * kernel.Panel
	one := (2*g.rows + 2) * t.padW * t.c // padded floats of a picture
	src := w.scratch[g.flat:][:g.images*one]
	if !t.d.pool.holds(w, place) {
		p := t.phases[0]
		p.left += 2 * bx
		p.height = 3
		for i := range images {
			t.pad(src[i*one:(i+1)*one], &p, img0+i, 2*by, 2*g.rows)
		}
	}
	tiles := images * g.rows * g.cols
	m := w.scratch[g.m:g.flat]
	for c := 0; c < t.c; c += g.block {
		k := min(g.block, t.c-c)
		for i := range images {
			t.winogradInput(w, src[i*one:(i+1)*one], i*g.rows*g.cols, c, k)
		}
		for at := 0; at < n; at += kernel.Panel {
			u := t.winogradWeights(w, j0+at/kernel.Panel, c, k)
			w.segs = sized(w.segs, 1)
			tile := &w.tile
			*tile = kernel.Tile{CStride: width, M: tiles, N: min(kernel.Panel, n-at), Segments: w.segs, Accumulate: c > 0}
			for p := range 16 {
				w.segs[0] = kernel.Segment{
					A: &w.scratch[g.v+p*g.tiles*g.block], ARow: g.block, ACol: 1,
					B: unsafe.Pointer(u[p]), BRow: kernel.Panel, K: k,
				}
				tile.C = &m[p*g.tiles*width+at]
				t.d.kernels.MatMul(tile)
			}
		}
	}
	t.winogradOutput(w, m, tiles*width)
	for i := range images {
		t.winogradStore(m, i*g.rows*g.cols, img0+i, 2*by, 2*bx, j0*kernel.Panel, n)
	}
}

// combine2 and combine3 compute y = a ± b (± c).
func (w *worker) combine2(set *kernel.Set, y, a []float32, s float32, b []float32) {
	w.pair = [3]kernel.Term{{C: 1, X: a}, {C: s, X: b}}
	set.Combine(y, w.pair[:2])
}

func (w *worker) combine3(set *kernel.Set, y []float32, r float32, a []float32, s float32, b []float32, q float32, c []float32) {
	w.pair = [3]kernel.Term{{C: r, X: a}, {C: s, X: b}, {C: q, X: c}}
	set.Combine(y, w.pair[:])
}

// winogradInput writes Bᵀ·d·B of channels c … c+k−1 of the tiles of one padded
// picture to v [16][tiles][block], from tile number first on.
func (t *conv) winogradInput(w *worker, src []float32, first, c, k int) {
	g, set := &t.wino, t.d.kernels
	v := w.scratch[g.v:g.m]
	column := v[16*g.tiles*g.block:] // Bᵀ·d, by pixel column: [4 rows][4 columns][block]
	row := t.padW * t.c
	for ty := range g.rows {
		for tx := range g.cols {
			d := src[2*ty*row+2*tx*t.c+c:]
			from := 0
			if tx > 0 {
				from = 2 // the left two columns are the last tile's right ones
			}
			for x := from; x < 4; x++ {
				at := func(y int) []float32 { return d[y*row+x*t.c:][:k] }
				slot := (2*tx + x) & 3
				to := func(y int) []float32 { return column[(y*4+slot)*g.block:][:k] }
				w.combine2(set, to(0), at(0), -1, at(2))
				w.combine2(set, to(1), at(1), 1, at(2))
				w.combine2(set, to(2), at(2), -1, at(1))
				w.combine2(set, to(3), at(1), -1, at(3))
			}
			tile := first + ty*g.cols + tx
			for y := range 4 {
				col := func(x int) []float32 { return column[(y*4+(2*tx+x)&3)*g.block:][:k] }
				to := func(x int) []float32 { return v[((y*4+x)*g.tiles+tile)*g.block:][:k] }
				w.combine2(set, to(0), col(0), -1, col(2))
				w.combine2(set, to(1), col(1), 1, col(2))
				w.combine2(set, to(2), col(2), -1, col(1))
				w.combine2(set, to(3), col(1), -1, col(3))
			}
		}
	}
}

// winogradWeights computes G·g·Gᵀ of rows c … c+k−1 of panel j and returns its
// 16 parts [k][32].
func (t *conv) winogradWeights(w *worker, j, c, k int) (u [16]*float32) {
	g, set := &t.wino, t.d.kernels
	n := k * kernel.Panel
	size := g.block * kernel.Panel
	area := w.scratch[g.u:g.v]
	var taps [9][]float32
	for tap := range taps {
		from := tap
		if g.mirrored {
			from = 8 - tap
		}
		taps[tap] = t.b.w.tap(set, t.b.from == transposed, from, j, c, k, area[tap*size:][:n], area[23*size:])
	}
	area = area[9*size:]
	// Rows: T = G·g, T[0] and T[3] being g's own.
	var rows [4][3][]float32
	for x := range 3 {
		a, b, d := taps[x], taps[3+x], taps[6+x]
		s, r := area[x*size:][:n], area[(3+x)*size:][:n]
		w.combine3(set, s, 0.5, a, 0.5, b, 0.5, d)
		w.combine3(set, r, 0.5, a, -0.5, b, 0.5, d)
		rows[0][x], rows[1][x], rows[2][x], rows[3][x] = a, s, r, d
	}
	for y := range 4 {
		a, b, d := rows[y][0], rows[y][1], rows[y][2]
		s, r := area[(6+2*y)*size:][:n], area[(7+2*y)*size:][:n]
		w.combine3(set, s, 0.5, a, 0.5, b, 0.5, d)
		w.combine3(set, r, 0.5, a, -0.5, b, 0.5, d)
		u[4*y], u[4*y+1], u[4*y+2], u[4*y+3] = &a[0], &s[0], &r[0], &d[0]
	}
	return u
}

// winogradOutput computes Aᵀ·m·A in place: the four pixels of each tile come
// to lie in parts 0, 3, 12 and 15.
func (t *conv) winogradOutput(w *worker, m []float32, n int) {
	g, set := &t.wino, t.d.kernels
	part := func(y, x int) []float32 { return m[(4*y+x)*g.tiles*t.panels*kernel.Panel:][:n] }
	for x := range 4 {
		a, b, c, d := part(0, x), part(1, x), part(2, x), part(3, x)
		w.combine3(set, a, 1, a, 1, b, 1, c)
		w.combine3(set, d, 1, b, -1, c, -1, d)
	}
	for _, y := range [2]int{0, 3} {
		a, b, c, d := part(y, 0), part(y, 1), part(y, 2), part(y, 3)
		w.combine3(set, a, 1, a, 1, b, 1, c)
		w.combine3(set, d, 1, b, -1, c, -1, d)
	}
}

// winogradStore puts one picture's pixels in place and finishes them.
func (t *conv) winogradStore(m []float32, first, img, y0, x0, n0, n int) {
	g := &t.wino
	width := t.panels * kernel.Panel
	y := &t.epi.y
	cols := min(2*g.cols, t.outW-x0)
	for dy := range min(2*g.rows, t.outH-y0) {
		row := (img*t.outH+y0+dy)*t.outW + x0 // of y
		for dx := range cols {
			tile := first + dy/2*g.cols + dx/2
			c := m[(((dy&1)*12+(dx&1)*3)*g.tiles+tile)*width:][:n]
			if t.epi.direct {
				copy(y.row(row + dx)[n0:n0+n], c)
			} else {
				t.epi.store(t.d.kernels, c, width, row+dx, n0, 1, n)
			}
		}
		if t.epi.direct && !t.epi.plain {
			t.epi.store(t.d.kernels, y.p[row*y.stride+n0:], y.stride, row, n0, cols, n)
		}
	}
}
