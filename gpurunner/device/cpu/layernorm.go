package cpu

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// layerNorm is the task of LayerNorm and LayerNormBack. A chunk is a block of
// rows; back, each leaves its sums for dgamma and dbeta.
type layerNorm struct {
	d             *Device
	y, x          matrix
	dy, dx        matrix
	stats         []float32 // [Rows,2]
	gamma, beta   []float32
	eps, acc      float32
	back          bool
	block, blocks int
	sums          []float32 // [blocks,2,C], or nil
}

// LayerNorm implements device.Norms.
func (d *Device) LayerNorm(y device.Matrix, stats device.Array, x device.Matrix, gamma, beta device.Array, eps float32) {
	const op = "LayerNorm"
	t := &d.tasks.layerNorm
	*t = layerNorm{d: d, eps: eps, block: blockPixels(x.Cols)}
	t.y, t.x = d.matOf(op, "y", y, x.Rows, x.Cols), d.mat(op, "x", x)
	t.stats = d.f32n(op, "stats", stats, x.Rows*2)
	t.gamma, t.beta = d.f32n(op, "gamma", gamma, x.Cols), d.f32n(op, "beta", beta, x.Cols)
	if x.Cols > 0 {
		t.block = d.evenBlock(x.Rows, t.block)
		d.fork(t, ceil(x.Rows, t.block), moved*4*x.Rows*x.Cols)
	}
}

// LayerNormBack implements device.Norms.
func (d *Device) LayerNormBack(dx device.Matrix, dgamma, dbeta device.Array, dy, x device.Matrix, stats, gamma device.Array, acc float32) {
	const op = "LayerNormBack"
	t := &d.tasks.layerNorm
	*t = layerNorm{d: d, acc: acc, back: true, block: blockPixels(x.Cols)}
	t.x = d.mat(op, "x", x)
	t.dx, t.dy = d.matOf(op, "dx", dx, x.Rows, x.Cols), d.matOf(op, "dy", dy, x.Rows, x.Cols)
	t.stats = d.f32n(op, "stats", stats, x.Rows*2)
	t.gamma = d.f32n(op, "gamma", gamma, x.Cols)
	dg, db := d.optional(op, "dgamma", dgamma, x.Cols), d.optional(op, "dbeta", dbeta, x.Cols)
	if x.Rows*x.Cols == 0 || !d.scratch(x.Cols) {
		return
	}
	if dg == nil && db == nil { // else blocks show in the bits of their sums
		t.block = d.evenBlock(x.Rows, t.block)
	}
	t.blocks = ceil(x.Rows, t.block)
	if dg != nil || db != nil {
		buf, sums := d.temp(t.blocks * 2 * x.Cols)
		if buf == nil {
			return
		}
		defer d.Release(buf)
		t.sums = sums
	}
	d.fork(t, t.blocks, moved*8*x.Rows*x.Cols)
	if t.sums == nil {
		return
	}
	for b := range t.blocks {
		s := t.sums[b*2*x.Cols:]
		if dg != nil {
			d.kernels.Add(dg, dg, s[:x.Cols])
		}
		if db != nil {
			d.kernels.Add(db, db, s[x.Cols:2*x.Cols])
		}
	}
}

func (t *layerNorm) run(w *worker, chunk int) {
	set, c := t.d.kernels, t.x.cols
	var dg, db []float32
	if t.sums != nil {
		dg, db = t.sums[chunk*2*c:][:c], t.sums[(chunk*2+1)*c:][:c]
		clear(dg)
		clear(db)
	}
	for r := chunk * t.block; r < min((chunk+1)*t.block, t.x.rows); r++ {
		x := t.x.row(r)
		if !t.back {
			mean := set.Sum(x) / float32(c)
			rstd := float32(1 / math.Sqrt(float64(set.SumSquaresFrom(x, mean))/float64(c)+float64(t.eps)))
			t.stats[2*r], t.stats[2*r+1] = mean, rstd
			set.Normalize(t.y.row(r), x, mean, rstd, t.gamma, t.beta)
			continue
		}
		mean, rstd, dy, dx := t.stats[2*r], t.stats[2*r+1], t.dy.row(r), t.dx.row(r)
		if dg != nil {
			set.NormalizeBackParams(dg, db, dy, x, mean, rstd)
		}
		sum, sumX := set.NormalizeBackSums(dy, x, t.gamma, mean, rstd)
		a, b := sum/float32(c), sumX/float32(c)
		if t.acc == 0 {
			set.NormalizeBack(dx, dy, x, t.gamma, mean, rstd, a, b)
			continue
		}
		set.NormalizeBack(w.scratch[:c], dy, x, t.gamma, mean, rstd, a, b)
		accumulate(set, dx, w.scratch[:c], t.acc)
	}
}
