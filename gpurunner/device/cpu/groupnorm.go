package cpu

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// groupNorm is the task of GroupNorm and GroupNormBack, in passes: each block
// of pixels is summed by channel, the blocks' sums are merged in float64 in
// order (as Chan, Golub and LeVeque, "Updating formulae and a pairwise
// algorithm for computing sample variances", 1979), and each block is mapped.
type groupNorm struct {
	d                      *Device
	y, x                   []float32
	stats                  []float32 // [N,Groups,2]
	gamma, beta            []float32
	dy, dx, dgamma, dbeta  []float32
	g                      device.NormGeom
	silu                   bool
	acc                    float32
	pass                   normPass
	block, blocks          int       // pixels of a block, blocks of an image
	sums                   []float32 // [N,blocks,2,C]
	mean, rstd, a, b       []float32 // [N,C]
	p, q, t, total, totalX []float32 // [N,C]
}

type normPass uint8

const (
	normSums  normPass = iota // chunk: a block
	normMerge                 // chunk: an image
	normApply                 // chunk: a block
	normBackSums
	normBackMerge
	normBackApply
)

// blockPixels is small enough that a block stays in the cache for its second
// reading, and that float32 sums over it are good.
func blockPixels(c int) int { return min(max(16384/max(c, 1), 1), 256) }

func (d *Device) groupNorm(op string, g device.NormGeom) *groupNorm {
	if g.N < 0 || g.Pixels < 0 || g.C < 0 || g.Groups < 1 || g.C%g.Groups != 0 {
		badGeometry(op, g, "impossible")
	}
	t := &d.tasks.groupNorm
	*t = groupNorm{d: d, g: g, block: blockPixels(g.C)}
	t.blocks = ceil(g.Pixels, t.block)
	return t
}

// GroupNorm implements device.Norms.
func (d *Device) GroupNorm(y, stats, x, gamma, beta device.Array, g device.NormGeom, silu bool) {
	const op = "GroupNorm"
	t := d.groupNorm(op, g)
	size := g.N * g.Pixels * g.C
	t.y, t.x = d.f32n(op, "y", y, size), d.f32n(op, "x", x, size)
	t.stats = d.f32n(op, "stats", stats, g.N*g.Groups*2)
	t.gamma, t.beta = d.f32n(op, "gamma", gamma, g.C), d.f32n(op, "beta", beta, g.C)
	t.silu = silu
	if size == 0 {
		return
	}
	buf, temp := d.temp(g.N * g.C * (2*t.blocks + 2))
	if buf == nil {
		return
	}
	nc := g.N * g.C
	t.sums, t.a, t.b = temp[:nc*2*t.blocks], temp[nc*2*t.blocks:][:nc], temp[nc*(2*t.blocks+1):][:nc]
	t.pass = normSums
	d.fork(t, g.N*t.blocks, moved*2*size)
	t.pass = normMerge
	d.fork(t, g.N, len(t.sums)*4)
	t.pass = normApply
	d.fork(t, g.N*t.blocks, moved*4*size)
	d.Release(buf)
}

// GroupNormBack implements device.Norms.
func (d *Device) GroupNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, beta device.Array, g device.NormGeom, silu bool, acc float32) {
	const op = "GroupNormBack"
	t := d.groupNorm(op, g)
	size := g.N * g.Pixels * g.C
	t.dx, t.dy, t.x = d.f32n(op, "dx", dx, size), d.f32n(op, "dy", dy, size), d.f32n(op, "x", x, size)
	t.stats = d.f32n(op, "stats", stats, g.N*g.Groups*2)
	t.gamma, t.beta = d.f32n(op, "gamma", gamma, g.C), d.f32n(op, "beta", beta, g.C)
	t.dgamma, t.dbeta = d.optional(op, "dgamma", dgamma, g.C), d.optional(op, "dbeta", dbeta, g.C)
	t.silu, t.acc = silu, acc
	if size == 0 {
		return
	}
	nc := g.N * g.C
	buf, temp := d.temp(nc * (2*t.blocks + 9))
	if buf == nil {
		return
	}
	t.sums, temp = temp[:nc*2*t.blocks], temp[nc*2*t.blocks:]
	for _, p := range []*[]float32{&t.mean, &t.rstd, &t.a, &t.b, &t.p, &t.q, &t.t, &t.total, &t.totalX} {
		*p, temp = temp[:nc], temp[nc:]
	}
	if !d.scratch(t.block * g.C) {
		d.Release(buf)
		return
	}
	t.spread()
	t.pass = normBackSums
	d.fork(t, g.N*t.blocks, moved*4*size)
	t.pass = normBackMerge
	d.fork(t, g.N, len(t.sums)*4)
	t.pass = normBackApply
	d.fork(t, g.N*t.blocks, moved*4*size)
	for n := range g.N {
		if t.dgamma != nil {
			d.kernels.Add(t.dgamma, t.dgamma, t.totalX[n*g.C:(n+1)*g.C])
		}
		if t.dbeta != nil {
			d.kernels.Add(t.dbeta, t.dbeta, t.total[n*g.C:(n+1)*g.C])
		}
	}
	d.Release(buf)
}

// spread writes each channel's statistics and affine form.
func (t *groupNorm) spread() {
	per := t.g.C / t.g.Groups
	for i := range t.g.N * t.g.C {
		c := i % t.g.C
		at := (i/t.g.C*t.g.Groups + c/per) * 2
		t.mean[i], t.rstd[i] = t.stats[at], t.stats[at+1]
		t.a[i], t.b[i] = affine(t.stats[at], t.stats[at+1], t.gamma[c], t.beta[c])
	}
}

// affine is a norm of one channel as a·x+b.
func affine(mean, rstd, gamma, beta float32) (a, b float32) {
	a = float32(rstd * gamma)
	return a, beta - float32(mean*a)
}

func (t *groupNorm) run(w *worker, chunk int) {
	switch t.pass {
	case normMerge:
		t.merge(chunk)
		return
	case normBackMerge:
		t.backMerge(chunk)
		return
	}
	set, c := t.d.kernels, t.g.C
	img, from := chunk/t.blocks, chunk%t.blocks*t.block
	rows := min(t.block, t.g.Pixels-from)
	lo := (img*t.g.Pixels + from) * c
	hi := lo + rows*c
	ch0, ch1 := img*c, (img+1)*c
	switch t.pass {
	case normSums:
		mean, squares := t.sums[chunk*2*c:][:c], t.sums[(chunk*2+1)*c:][:c]
		clear(mean)
		clear(squares)
		set.ColumnSums(mean, t.x[lo:hi], c, rows)
		set.Scale(mean, 1/float32(rows), mean)
		set.ColumnSquares(squares, mean, t.x[lo:hi], c, rows)
	case normApply:
		f := set.Affine
		if t.silu {
			f = set.AffineSiLU
		}
		f(t.y[lo:hi], c, t.x[lo:hi], c, t.a[ch0:ch1], t.b[ch0:ch1], rows)
	case normBackSums, normBackApply:
		n := &w.norm
		*n = kernel.ColumnNorm{
			X: t.x[lo:hi], DY: t.dy[lo:hi], DX: t.dx[lo:hi], XStride: c, DYStride: c, DXStride: c,
			Rows: rows, SiLU: t.silu, Mean: t.mean[ch0:ch1], Rstd: t.rstd[ch0:ch1],
			A: t.a[ch0:ch1], B: t.b[ch0:ch1], P: t.p[ch0:ch1], Q: t.q[ch0:ch1], T: t.t[ch0:ch1],
		}
		if t.pass == normBackSums {
			n.Sum, n.SumX = t.sums[chunk*2*c:][:c], t.sums[(chunk*2+1)*c:][:c]
			clear(n.Sum)
			clear(n.SumX)
			set.ColumnBackSums(n)
			return
		}
		if t.acc == 0 {
			set.ColumnBack(n)
			return
		}
		n.DX = w.scratch[:rows*c]
		set.ColumnBack(n)
		accumulate(set, t.dx[lo:hi], n.DX, t.acc)
	}
}

// accumulate computes y = v + acc·y.
func accumulate(set *kernel.Set, y, v []float32, acc float32) {
	if acc != 1 {
		set.Scale(y, acc, y)
	}
	set.Add(y, y, v)
}

// merge turns the block sums of an image into its groups' statistics and its
// channels' affine forms.
func (t *groupNorm) merge(img int) {
	g := &t.g
	per := g.C / g.Groups
	count := float64(g.Pixels * per)
	for group := range g.Groups {
		mean := 0.0
		for b := range t.blocks {
			rows := float64(min(t.block, g.Pixels-b*t.block))
			sum := 0.0
			for _, v := range t.sums[(img*t.blocks+b)*2*g.C+group*per:][:per] {
				sum += float64(v)
			}
			mean += float64(rows * sum)
		}
		mean /= count
		squares := 0.0
		for b := range t.blocks {
			rows := float64(min(t.block, g.Pixels-b*t.block))
			at := (img*t.blocks+b)*2*g.C + group*per
			m2 := t.sums[at+g.C:][:per]
			for i, v := range t.sums[at:][:per] {
				off := float64(v) - mean
				squares += float64(m2[i]) + float64(rows*float64(off*off))
			}
		}
		rstd := 1 / math.Sqrt(squares/count+float64(g.Eps))
		t.stats[(img*g.Groups+group)*2] = float32(mean)
		t.stats[(img*g.Groups+group)*2+1] = float32(rstd)
		for c := group * per; c < (group+1)*per; c++ {
			t.a[img*g.C+c], t.b[img*g.C+c] = affine(float32(mean), float32(rstd), t.gamma[c], t.beta[c])
		}
	}
}

// backMerge sums the blocks of an image and prepares normBackApply.
func (t *groupNorm) backMerge(img int) {
	g := &t.g
	per := g.C / g.Groups
	count := float64(g.Pixels * per)
	for group := range g.Groups {
		sum, sumX := 0.0, 0.0
		for c := group * per; c < (group+1)*per; c++ {
			s, sx := 0.0, 0.0
			for b := range t.blocks {
				at := (img*t.blocks+b)*2*g.C + c
				s += float64(t.sums[at])
				sx += float64(t.sums[at+g.C])
			}
			t.total[img*g.C+c], t.totalX[img*g.C+c] = float32(s), float32(sx)
			sum += float64(float64(t.gamma[c]) * s)
			sumX += float64(float64(t.gamma[c]) * sx)
		}
		for c := group * per; c < (group+1)*per; c++ {
			at := img*g.C + c
			rstd := float64(t.rstd[at])
			t.p[at] = float32(rstd * float64(t.gamma[c]))
			t.t[at] = float32(-rstd * sum / count)
			t.q[at] = float32(-rstd * rstd * sumX / count)
		}
	}
}
