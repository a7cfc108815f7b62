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
// tiles' inputs are transformed to v, unless the worker's chunk before left all
// of them there, and per panel the weights to u; the 16 products are summed in
// m and transformed back at the end.
type winograd struct {
	on           bool
	cols, rows   int // tiles of a block
	across, down int // blocks of a picture
	images       int // pictures of a block
	tiles        int // of a block: images·rows·cols
	block        int // channels of a block
	mirrored     bool

	u, v, spare, m, flat int // offsets in scratch

	// Distances of the 16 parts in u, v and m. They are odd multiples of a
	// cache line: parts a multiple of a page apart would share its sets.
	uPart, vPart, mPart int
}

func partLen(floats int) int { return roundUp(floats, 32) + 16 }

// Winograd wins where transforming weights and inputs is little beside the
// products. The choice depends on shape alone, as it shows in the bits.
const (
	winogradChannels = 32  // least of input and output
	winogradTiles    = 4   // least in a picture, whatever the batch
	winogradBlock    = 128 // channels
	winogradWant     = 128 // tiles of a block, about
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
	g.on = down*across >= winogradTiles
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
	for t.panels > 1 && places*ceil(all, t.panels) < t.d.wantChunks() {
		t.panels--
	}
	t.blocks = ceil(all, t.panels)
	g.uPart = partLen(g.block * kernel.Panel)
	g.vPart = partLen(g.tiles * g.block)
	g.mPart = partLen(g.tiles * t.panels * kernel.Panel)
	g.u = scratchB
	g.v = g.u + (16+9+1)*g.uPart
	g.spare = g.v + 16*g.vPart
	g.m = g.spare + 4*t.panels*kernel.Panel
	g.flat = g.m + 16*g.mPart
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
	held := t.d.pool.holds(w, place)
	if !held {
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
		if !held || g.block < t.c {
			for i := range images {
				t.winogradInput(w, src[i*one:(i+1)*one], i*g.rows*g.cols, c, k)
			}
		}
		for at := 0; at < n; at += kernel.Panel {
			t.winogradWeights(w, j0+at/kernel.Panel, c, k)
			w.segs = sized(w.segs, 1)
			tile := &w.tile
			*tile = kernel.Tile{CStride: width, M: tiles, N: min(kernel.Panel, n-at), Segments: w.segs, Accumulate: c > 0}
			for p := range 16 {
				w.segs[0] = kernel.Segment{
					A: &w.scratch[g.v+p*g.vPart], ARow: g.block, ACol: 1,
					B: unsafe.Pointer(&w.scratch[g.u+p*g.uPart]), BRow: kernel.Panel, K: k,
				}
				tile.C = &m[p*g.mPart+at]
				t.d.kernels.MatMul(tile)
			}
		}
	}
	for i := range images {
		t.winogradStore(w, m, w.scratch[g.spare:g.m], i*g.rows*g.cols, img0+i, 2*by, 2*bx, j0*kernel.Panel, n)
	}
}

// winogradInput writes Bᵀ·d·B of channels c … c+k−1 of the tiles of one padded
// picture to v [16][tiles][block], from tile number first on.
func (t *conv) winogradInput(w *worker, src []float32, first, c, k int) {
	g := &t.wino
	row := t.padW * t.c
	for ty := range g.rows {
		for tx := range g.cols {
			v := w.scratch[g.v+(first+ty*g.cols+tx)*g.block : g.spare]
			t.d.kernels.WinogradInput(v, g.vPart, src[2*ty*row+2*tx*t.c+c:], t.c, row, k)
		}
	}
}

// winogradWeights writes G·g·Gᵀ of rows c … c+k−1 of panel j to u
// [16][block·32].
func (t *conv) winogradWeights(w *worker, j, c, k int) {
	g, set, wt := &t.wino, t.d.kernels, t.b.w
	size := g.uPart
	u := w.scratch[g.u:g.v]
	if wt.f != nil && t.b.from == panels {
		src := wt.f[(j*9*wt.in+c)*kernel.Panel:]
		set.WinogradWeights(u, size, src, wt.in*kernel.Panel, g.mirrored, k*kernel.Panel)
		return
	}
	taps := u[16*size:]
	for tap := range 9 {
		dst := taps[tap*size:][:k*kernel.Panel]
		if t.b.from == transposed {
			wt.turnTap(set, dst, tap, j, c, k, taps[9*size:])
		} else {
			wt.widenTo(set, dst, wt.h[((j*9+tap)*wt.in+c)*kernel.Panel:][:k*kernel.Panel])
		}
	}
	set.WinogradWeights(u, size, taps, size, g.mirrored, k*kernel.Panel)
}

// winogradStore transforms the sums of one picture's tiles back and finishes
// their pixels. Tiles that hang over the edge go through spare.
func (t *conv) winogradStore(w *worker, m, spare []float32, first, img, y0, x0, n0, n int) {
	g, set := &t.wino, t.d.kernels
	width := t.panels * kernel.Panel
	part := g.mPart
	y := &t.epi.y
	cols, lines := min(2*g.cols, t.outW-x0), min(2*g.rows, t.outH-y0)
	for ty := 0; ty < lines; ty += 2 {
		row := (img*t.outH+y0+ty)*t.outW + x0 // of y
		for tx := 0; tx < cols; tx += 2 {
			src := m[(first+ty/2*g.cols+tx/2)*width:]
			if t.epi.direct && ty+1 < lines && tx+1 < cols {
				set.WinogradOutput(y.p[(row+tx)*y.stride+n0:], y.stride, t.outW*y.stride, src, part, n)
				continue
			}
			set.WinogradOutput(spare, width, 2*width, src, part, n)
			for i := range 4 {
				dy, dx := i/2, i%2
				if ty+dy >= lines || tx+dx >= cols {
					continue
				}
				to := row + dy*t.outW + tx + dx
				if t.epi.direct {
					copy(y.row(to)[n0:n0+n], spare[i*width:])
				} else {
					t.epi.store(w, set, spare[i*width:], width, to, n0, 1, n)
				}
			}
		}
		if t.epi.direct && !t.epi.plain {
			for dy := range min(2, lines-ty) {
				at := row + dy*t.outW
				t.epi.store(w, set, y.p[at*y.stride+n0:], y.stride, at, n0, cols, n)
			}
		}
	}
}
