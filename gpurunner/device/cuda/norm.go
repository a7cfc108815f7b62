//go:build cuda

package cuda

import "github.com/lowrank/lowrank/gpurunner/device"

// blockPixels is how many pixels a block of group norm, or rows of layer norm's
// backward, sums: few enough that float32 sums over them are good.
func blockPixels(c int) int { return min(max(16384/max(c, 1), 1), 256) }

func checkNorm(op string, g device.NormGeom) {
	if g.N < 0 || g.Pixels < 0 || g.C < 0 || g.Groups < 1 || g.C%g.Groups != 0 {
		badGeometry(op, g, "impossible")
	}
}

// run is how many elements a thread takes: four where runs of channels lie in
// aligned memory.
func run(channels int, at ...uint64) int {
	n := 4
	for _, p := range at {
		if p%16 != 0 || channels%4 != 0 {
			n = 1
		}
	}
	return n
}

// GroupNorm implements device.Norms.
func (d *Device) GroupNorm(y, stats, x, gamma, beta device.Array, g device.NormGeom, silu bool) {
	const op = "GroupNorm"
	checkNorm(op, g)
	size := g.N * g.Pixels * g.C
	yp, xp := d.f32n(op, "y", y, size), d.f32n(op, "x", x, size)
	sp := d.f32n(op, "stats", stats, g.N*g.Groups*2)
	gp, bp := d.f32n(op, "gamma", gamma, g.C), d.f32n(op, "beta", beta, g.C)
	if size == 0 {
		return
	}
	block := blockPixels(g.C)
	blocks := ceil(g.Pixels, block)
	sums := d.temp(g.N * blocks * 2 * g.C * 4)
	if sums == nil {
		return
	}
	defer d.Release(sums)
	d.launch("norm_sums", grid{blocks, ceil(g.C, 128), g.N}, 128,
		address(sums.address), address(xp), whole(g.Pixels), whole(g.C), whole(block))
	d.launch("norm_merge", grid{g.Groups, g.N, 1}, 128,
		address(sp), address(sums.address), whole(g.Pixels), whole(g.C), whole(g.Groups), whole(block), whole(blocks), fraction(g.Eps))
	n := run(g.C, yp, xp, gp, bp)
	d.launch("norm_apply", line(size, 256*n), 256,
		address(yp), address(xp), address(sp), address(gp), address(bp), whole(g.N), whole(g.Pixels), whole(g.C), whole(g.Groups), boolean(silu), whole(n))
}

// GroupNormBack implements device.Norms.
func (d *Device) GroupNormBack(dx, dgamma, dbeta, dy, x, stats, gamma, beta device.Array, g device.NormGeom, silu bool, acc float32) {
	const op = "GroupNormBack"
	checkNorm(op, g)
	size := g.N * g.Pixels * g.C
	dxp, dyp, xp := d.f32n(op, "dx", dx, size), d.f32n(op, "dy", dy, size), d.f32n(op, "x", x, size)
	sp := d.f32n(op, "stats", stats, g.N*g.Groups*2)
	gp, bp := d.f32n(op, "gamma", gamma, g.C), d.f32n(op, "beta", beta, g.C)
	dgp, dbp := d.optional(op, "dgamma", dgamma, g.C), d.optional(op, "dbeta", dbeta, g.C)
	if size == 0 {
		return
	}
	block := blockPixels(g.C)
	blocks := ceil(g.Pixels, block)
	temp := d.temp((g.N*(blocks+1)*2*g.C + g.N*g.Groups*2) * 4)
	if temp == nil {
		return
	}
	defer d.Release(temp)
	sums := temp.address
	totals := sums + uint64(g.N*blocks*2*g.C*4)
	means := totals + uint64(g.N*2*g.C*4)
	d.launch("norm_back_sums", grid{blocks, ceil(g.C, 128), g.N}, 128,
		address(sums), address(dyp), address(xp), address(sp), address(gp), address(bp), whole(g.Pixels), whole(g.C), whole(g.Groups),
		whole(block), boolean(silu))
	d.launch("norm_back_channels", grid{ceil(g.C, 128), g.N, 1}, 128, address(totals), address(sums), whole(g.C), whole(blocks))
	d.launch("norm_back_groups", grid{g.Groups, g.N, 1}, 128,
		address(means), address(totals), address(gp), whole(g.Pixels), whole(g.C), whole(g.Groups))
	n := run(g.C, dxp, dyp, xp, gp, bp)
	d.launch("norm_back_apply", line(size, 256*n), 256,
		address(dxp), address(dyp), address(xp), address(sp), address(means), address(gp), address(bp),
		whole(g.N), whole(g.Pixels), whole(g.C), whole(g.Groups), boolean(silu), fraction(acc), whole(n))
	d.addParams(dgp, dbp, totals, g.N, g.C)
}

// addParams adds the totals [n,2,C] to dγ and dβ, where they are wanted.
func (d *Device) addParams(dgamma, dbeta, totals uint64, n, c int) {
	if dgamma|dbeta != 0 {
		d.launch("norm_back_params", line(c, 128), 128, address(dgamma), address(dbeta), address(totals), whole(n), whole(c))
	}
}

// LayerNorm implements device.Norms.
func (d *Device) LayerNorm(y device.Matrix, stats device.Array, x device.Matrix, gamma, beta device.Array, eps float32) {
	const op = "LayerNorm"
	ym, xm := d.matOf(op, "y", y, x.Rows, x.Cols), d.mat(op, "x", x)
	sp := d.f32n(op, "stats", stats, x.Rows*2)
	gp, bp := d.f32n(op, "gamma", gamma, x.Cols), d.f32n(op, "beta", beta, x.Cols)
	if x.Cols == 0 {
		return
	}
	d.launch("layer_norm", line(x.Rows, 4), 128,
		address(ym.p), whole(ym.stride), address(sp), address(xm.p), whole(xm.stride), address(gp), address(bp),
		whole(x.Rows), whole(x.Cols), fraction(eps))
}

// LayerNormBack implements device.Norms.
func (d *Device) LayerNormBack(dx device.Matrix, dgamma, dbeta device.Array, dy, x device.Matrix, stats, gamma device.Array, acc float32) {
	const op = "LayerNormBack"
	xm := d.mat(op, "x", x)
	dxm, dym := d.matOf(op, "dx", dx, x.Rows, x.Cols), d.matOf(op, "dy", dy, x.Rows, x.Cols)
	sp := d.f32n(op, "stats", stats, x.Rows*2)
	gp := d.f32n(op, "gamma", gamma, x.Cols)
	dgp, dbp := d.optional(op, "dgamma", dgamma, x.Cols), d.optional(op, "dbeta", dbeta, x.Cols)
	if x.Rows*x.Cols == 0 {
		return
	}
	if dgp|dbp != 0 {
		block := blockPixels(x.Cols)
		blocks := ceil(x.Rows, block)
		temp := d.temp((blocks + 1) * 2 * x.Cols * 4)
		if temp == nil {
			return
		}
		totals := temp.address + uint64(blocks*2*x.Cols*4)
		d.launch("layer_norm_back_sums", grid{blocks, ceil(x.Cols, 128), 1}, 128,
			address(temp.address), address(dym.p), whole(dym.stride), address(xm.p), whole(xm.stride), address(sp),
			whole(x.Rows), whole(x.Cols), whole(block))
		d.launch("norm_back_channels", grid{ceil(x.Cols, 128), 1, 1}, 128, address(totals), address(temp.address), whole(x.Cols), whole(blocks))
		d.addParams(dgp, dbp, totals, 1, x.Cols)
		d.Release(temp)
	}
	d.launch("layer_norm_back", line(x.Rows, 4), 128,
		address(dxm.p), whole(dxm.stride), address(dym.p), whole(dym.stride), address(xm.p), whole(xm.stride), address(sp), address(gp),
		whole(x.Rows), whole(x.Cols), fraction(acc))
}
