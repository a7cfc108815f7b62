package devicetest

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// groupNorm normalises x [N,Pixels,C]; layer norm is one group over one pixel.
func groupNorm(x, gamma, beta []float64, g device.NormGeom, silu bool) (y, stats []float64) {
	y, stats = make([]float64, len(x)), make([]float64, 2*g.N*g.Groups)
	per := g.C / g.Groups
	for i := range g.N * g.Groups {
		n, group := i/g.Groups, i%g.Groups
		each := func(f func(at, c int)) {
			for p := range g.Pixels {
				for c := group * per; c < (group+1)*per; c++ {
					f((n*g.Pixels+p)*g.C+c, c)
				}
			}
		}
		mean, square := 0.0, 0.0
		count := float64(g.Pixels * per)
		each(func(at, _ int) { mean += x[at] / count })
		each(func(at, _ int) { square += (x[at] - mean) * (x[at] - mean) / count })
		rstd := 1 / math.Sqrt(square+float64(g.Eps))
		stats[2*i], stats[2*i+1] = mean, rstd
		each(func(at, c int) { y[at] = (x[at]-mean)*rstd*gamma[c] + beta[c] })
	}
	if silu {
		y = activate(device.SiLU, y)
	}
	return y, stats
}

func siluSlope(x float64) float64 {
	s := 1 / (1 + math.Exp(-x))
	return s * (1 + x*(1-s))
}

// groupNormGrads differentiates groupNorm.
func groupNormGrads(x, gamma, beta, dy []float64, g device.NormGeom, silu bool) (dx, dgamma, dbeta []float64) {
	z, stats := groupNorm(x, gamma, beta, g, false)
	dx, dgamma, dbeta = make([]float64, len(x)), make([]float64, g.C), make([]float64, g.C)
	per := g.C / g.Groups
	hat, dz := make([]float64, len(x)), make([]float64, len(x))
	sum, sumX := make([]float64, g.N*g.Groups), make([]float64, g.N*g.Groups)
	of := func(i int) (group, c int) { return i/g.C/g.Pixels*g.Groups + i%g.C/per, i % g.C }
	for i := range x {
		group, c := of(i)
		hat[i] = (x[i] - stats[2*group]) * stats[2*group+1]
		dz[i] = dy[i]
		if silu {
			dz[i] *= siluSlope(z[i])
		}
		dgamma[c] += dz[i] * hat[i]
		dbeta[c] += dz[i]
		sum[group] += dz[i] * gamma[c]
		sumX[group] += dz[i] * gamma[c] * hat[i]
	}
	count := float64(g.Pixels * per)
	for i := range x {
		group, c := of(i)
		dx[i] = stats[2*group+1] * (dz[i]*gamma[c] - sum[group]/count - hat[i]*sumX[group]/count)
	}
	return dx, dgamma, dbeta
}

var normShapes = []device.NormGeom{
	{N: 1, Pixels: 1, C: 2, Groups: 1, Eps: 0.5}, // with a small eps all would cancel
	{N: 2, Pixels: 9, C: 6, Groups: 3, Eps: 1e-6},
	{N: 2, Pixels: 35, C: 32, Groups: 32, Eps: 1e-5},
	{N: 1, Pixels: 64, C: 96, Groups: 32, Eps: 1e-5},
	{N: 2, Pixels: 700, C: 33, Groups: 11, Eps: 1e-5},
	{N: 1, Pixels: 2000, C: 1, Groups: 1, Eps: 1e-6},
	{N: 3, Pixels: 17, C: 640, Groups: 32, Eps: 1e-5},
}

func normName(g device.NormGeom, silu bool) string {
	return fmt.Sprintf("%dx%dx%d/%d,%v", g.N, g.Pixels, g.C, g.Groups, silu)
}

func testGroupNorm(r *rig) {
	for _, g := range normShapes {
		for _, silu := range []bool{false, true} {
			r.sub(normName(g, silu), func(r *rig) {
				x, gamma, beta := r.normals(g.N*g.Pixels*g.C), r.normals(g.C), r.normals(g.C)
				want, wantStats := groupNorm(x, gamma, beta, g, silu)
				xa, y, stats := r.place(x), r.empty(len(x)), r.empty(len(wantStats))
				r.GroupNorm(y, stats, xa, r.place(gamma), r.place(beta), g, silu)
				r.near("y", r.download(y), want, close32)
				r.near("stats", r.download(stats), wantStats, close32)
				r.GroupNorm(xa, stats, xa, r.place(gamma), r.place(beta), g, silu)
				r.near("in place", r.download(xa), want, close32)
			})
		}
	}
	r.sub("LargeMean", func(r *rig) {
		// Σx²−mean² would lose everything here.
		g := device.NormGeom{N: 1, Pixels: 30000, C: 4, Groups: 2, Eps: 1e-6}
		x := r.normals(g.Pixels * g.C)
		for i := range x {
			x[i] = float64(float32(1000 + x[i]))
		}
		one := []float64{1, 1, 1, 1}
		want, _ := groupNorm(x, one, make([]float64, 4), g, false)
		y, stats := r.empty(len(x)), r.empty(4)
		r.GroupNorm(y, stats, r.place(x), r.place(one), r.place(make([]float64, 4)), g, false)
		r.near("y", r.download(y), want, 1e-4) // one ulp of x is 6e-5
	})
}

func testGroupNormBack(r *rig) {
	for _, g := range normShapes {
		for _, silu := range []bool{false, true} {
			r.sub(normName(g, silu), func(r *rig) {
				x, gamma, beta := r.normals(g.N*g.Pixels*g.C), r.normals(g.C), r.normals(g.C)
				dy := r.normals(len(x))
				_, sv := groupNorm(x, gamma, beta, g, silu)
				wantX, wantG, wantB := groupNormGrads(x, gamma, beta, dy, g, silu)
				dx, none := r.empty(len(x)), device.Array{}
				xa, dya, stats, ga, ba := r.place(x), r.place(dy), r.place(sv), r.place(gamma), r.place(beta)
				r.GroupNormBack(dx, none, none, dya, xa, stats, ga, ba, g, silu, 0)
				r.near("dx", r.download(dx), wantX, 4*close32)
				old, oldG, oldB := r.normals(len(x)), r.normals(g.C), r.normals(g.C)
				dx, dg, db := r.place(old), r.place(oldG), r.place(oldB)
				r.GroupNormBack(dx, dg, db, dya, xa, stats, ga, ba, g, silu, 1)
				r.near("dx added", r.download(dx), plus(wantX, 1, old), 4*close32)
				r.near("dgamma", r.download(dg), plus(wantG, 1, oldG), 4*close32)
				r.near("dbeta", r.download(db), plus(wantB, 1, oldB), 4*close32)
			})
		}
	}
	r.sub("Reference", func(r *rig) {
		g := device.NormGeom{N: 2, Pixels: 3, C: 4, Groups: 2, Eps: 0.1}
		x, gamma, beta, dy := r.normals(24), r.normals(4), r.normals(4), r.normals(24)
		dx, dg, db := groupNormGrads(x, gamma, beta, dy, g, true)
		of := func(x, gamma, beta []float64) []float64 { y, _ := groupNorm(x, gamma, beta, g, true); return y }
		r.near("dx", dx, gradient(func(v []float64) []float64 { return of(v, gamma, beta) }, x, dy), 1e-6)
		r.near("dgamma", dg, gradient(func(v []float64) []float64 { return of(x, v, beta) }, gamma, dy), 1e-6)
		r.near("dbeta", db, gradient(func(v []float64) []float64 { return of(x, gamma, v) }, beta, dy), 1e-6)
	})
}

var rowShapes = []struct{ rows, cols int }{{1, 1}, {3, 7}, {5, 320}, {130, 33}, {1, 1280}, {0, 8}, {700, 4}}

// asLayer is a layer norm in the words of groupNorm.
func asLayer(rows, cols int, eps float32) device.NormGeom {
	return device.NormGeom{N: rows, Pixels: 1, C: cols, Groups: 1, Eps: eps}
}

func testLayerNorm(r *rig) {
	for _, s := range rowShapes {
		r.sub(fmt.Sprintf("%dx%d", s.rows, s.cols), func(r *rig) {
			x, gamma, beta := r.normals(s.rows*s.cols), r.normals(s.cols), r.normals(s.cols)
			want, wantStats := groupNorm(x, gamma, beta, asLayer(s.rows, s.cols, 1e-5), false)
			y, stats := r.matrix(nans(len(x)), s.rows, s.cols, true), r.empty(2*s.rows)
			r.LayerNorm(y, stats, r.matrix(x, s.rows, s.cols, true), r.place(gamma), r.place(beta), 1e-5)
			r.near("y", r.values(y), want, close32)
			r.near("stats", r.download(stats), wantStats, close32)
		})
	}
}

func testLayerNormBack(r *rig) {
	for _, s := range rowShapes {
		r.sub(fmt.Sprintf("%dx%d", s.rows, s.cols), func(r *rig) {
			x, gamma, beta := r.normals(s.rows*s.cols), r.normals(s.cols), r.normals(s.cols)
			dy := r.normals(len(x))
			g := asLayer(s.rows, s.cols, 1e-2)
			_, sv := groupNorm(x, gamma, beta, g, false)
			wantX, wantG, wantB := groupNormGrads(x, gamma, beta, dy, g, false)
			xm, dym := r.matrix(x, s.rows, s.cols, true), r.matrix(dy, s.rows, s.cols, true)
			stats, ga, none := r.place(sv), r.place(gamma), device.Array{}
			dx := r.matrix(nans(len(x)), s.rows, s.cols, true)
			r.LayerNormBack(dx, none, none, dym, xm, stats, ga, 0)
			r.near("dx", r.values(dx), wantX, 4*close32)
			old, oldG, oldB := r.normals(len(x)), r.normals(s.cols), r.normals(s.cols)
			dx = r.matrix(old, s.rows, s.cols, true)
			dg, db := r.place(oldG), r.place(oldB)
			r.LayerNormBack(dx, dg, db, dym, xm, stats, ga, 1)
			r.near("dx added", r.values(dx), plus(wantX, 1, old), 4*close32)
			r.near("dgamma", r.download(dg), plus(wantG, 1, oldG), 4*close32)
			r.near("dbeta", r.download(db), plus(wantB, 1, oldB), 4*close32)
		})
	}
}
