//go:build cuda

package cuda

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// geometry are GEOMETRY_PARAMS.
func geometry(g device.ConvGeom) []arg {
	tall, wide := g.Source()
	var args []arg
	for _, n := range []int{g.N, g.H, g.W, g.C, g.O, g.KH, g.KW, g.Stride, g.Top, g.Left, tall, wide, g.OutH(), g.OutW()} {
		args = append(args, whole(n))
	}
	return args
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

func (d *Device) convWeight(op string, w device.Weight, g device.ConvGeom) *weight {
	wt := d.weight(op, w)
	if len(wt.shape) == 4 && (wt.shape[2] != g.KH || wt.shape[3] != g.KW) || wt.taps != g.KH*g.KW || wt.out != g.O || wt.in != g.C {
		badGeometry(op, g, "a weight of another shape")
	}
	checkConv(op, g)
	return wt
}

// isPoint says that a convolution is a product of the pixels' channels.
func isPoint(g device.ConvGeom) bool {
	return g.KH == 1 && g.KW == 1 && g.Stride == 1 && g.Top|g.Left|g.Bottom|g.Right|g.UpH == 0
}

// flat is g over the picture that is stretched already.
func flat(g device.ConvGeom) device.ConvGeom {
	g.H, g.W, g.UpH, g.UpW = g.UpH, g.UpW, 0, 0
	return g
}

// pixels views a as a matrix of pixels of exactly rows × cols.
func pixels(op, name string, a device.Array, rows, cols int) device.Matrix {
	if a.Len != rows*cols {
		badLen(op, name, a, rows*cols)
	}
	return a.Matrix(rows, cols)
}

// Conv implements device.Convolutions.
func (d *Device) Conv(y, x device.Array, w device.Weight, g device.ConvGeom, lows []device.Low, epi device.Epilogue) {
	const op = "Conv"
	wt := d.convWeight(op, w, g)
	rows := g.N * g.OutH() * g.OutW()
	if isPoint(g) {
		d.Linear(pixels(op, "y", y, rows, g.O), pixels(op, "x", x, rows, g.C), w, lows, epi)
		return
	}
	ym := d.mat(op, "y", pixels(op, "y", y, rows, g.O))
	xp := d.f32n(op, "x", x, g.N*g.H*g.W*g.C)
	last := d.epilogue(op, epi, ym, 1)
	l, ok := d.lows(op, lows, ym, false)
	if !ok || rows == 0 || g.O == 0 {
		return
	}
	fast := aligned(fastA, xp, g.C, g.C, 4) | aligned(fastB, wt.buf.address, wt.taps*g.C, wt.taps*g.C, 8) | l.fast(false)
	if p, ok := d.split("conv", rows, g.O, wt.taps*g.C, fast == fastAll); ok {
		d.weightKernel(&p, wt)
		p.fast = fast
		args := append([]arg{address(xp), address(wt.buf.address)}, geometry(g)...)
		d.run(p, "reduce_splits", append(args, l.args()...), last, last)
	}
	for _, t := range l.temps {
		d.Release(t)
	}
}

// ConvBack implements device.Convolutions.
func (d *Device) ConvBack(dx, dy device.Array, w device.Weight, g device.ConvGeom, beta float32) {
	const op = "ConvBack"
	wt := d.convWeight(op, w, g)
	if g.UpH != 0 {
		up := d.tempArray(g.N * g.UpH * g.UpW * g.C)
		if up.None() {
			return
		}
		d.ConvBack(up, dy, w, flat(g), 0)
		d.UpsampleBack(dx, up, g, beta)
		d.Release(up.Buf)
		return
	}
	rows, outs := g.N*g.H*g.W, g.N*g.OutH()*g.OutW()
	if isPoint(g) {
		d.LinearBack(pixels(op, "dx", dx, rows, g.C), pixels(op, "dy", dy, outs, g.O), w, nil, beta)
		return
	}
	xp, yp := d.f32n(op, "dx", dx, rows*g.C), d.f32n(op, "dy", dy, outs*g.O)
	if rows == 0 || g.C == 0 {
		return
	}
	fast := aligned(fastA, yp, g.O, g.O, 4) | aligned(fastB, wt.buf.address, g.C, g.C, 8)
	p, ok := d.split("conv_back", rows, g.C, wt.taps*g.O, fast == fastA|fastB)
	if !ok {
		return
	}
	d.weightKernel(&p, wt)
	p.fast = fast
	m := matrix{p: xp, rows: rows, cols: g.C, stride: g.C}
	d.run(p, "reduce_splits", append([]arg{address(yp), address(wt.buf.address)}, geometry(g)...),
		[]arg{address(xp), fraction(beta)}, d.epilogue(op, device.Epilogue{Beta: beta}, m, 1))
}

// ConvWeightGrad implements device.Convolutions.
func (d *Device) ConvWeightGrad(dw, x, dy device.Array, g device.ConvGeom, beta float32) {
	const op = "ConvWeightGrad"
	checkConv(op, g)
	if g.UpH != 0 {
		up := d.tempArray(g.N * g.UpH * g.UpW * g.C)
		if up.None() {
			return
		}
		d.Upsample(up, x, g)
		d.ConvWeightGrad(dw, up, dy, flat(g), beta)
		d.Release(up.Buf)
		return
	}
	taps, outs := g.KH*g.KW, g.N*g.OutH()*g.OutW()
	wp := d.f32n(op, "dw", dw, g.O*g.C*taps)
	xp, yp := d.f32n(op, "x", x, g.N*g.H*g.W*g.C), d.f32n(op, "dy", dy, outs*g.O)
	if dw.Len == 0 {
		return
	}
	p, ok := d.split("conv_weight_grad", g.O, taps*g.C, outs, false)
	if !ok {
		return
	}
	if d.tensorCores() {
		p.kernel = fmt.Sprintf("mma_%s_%v", p.kernel, d.options.Precision)
		p.fast = aligned(fastA, yp, g.O, g.O, 4) | aligned(fastB, xp, g.C, g.C, 4)
	}
	d.run(p, "reduce_splits_grad", append([]arg{address(xp), address(yp)}, geometry(g)...),
		[]arg{address(wp), fraction(beta)}, []arg{address(wp), whole(taps), whole(g.C), fraction(beta)})
}

// Upsample implements device.Convolutions.
func (d *Device) Upsample(y, x device.Array, g device.ConvGeom) {
	yp, xp := d.stretched("Upsample", y, x, g)
	d.launch("upsample", line(y.Len, 256), 256, address(yp), address(xp), whole(g.N), whole(g.H), whole(g.W), whole(g.C), whole(g.UpH), whole(g.UpW))
}

// UpsampleBack implements device.Convolutions.
func (d *Device) UpsampleBack(dx, dy device.Array, g device.ConvGeom, beta float32) {
	yp, xp := d.stretched("UpsampleBack", dy, dx, g)
	d.launch("upsample_back", line(dx.Len, 256), 256, address(xp), address(yp), whole(g.N), whole(g.H), whole(g.W), whole(g.C),
		whole(g.UpH), whole(g.UpW), fraction(beta))
}

func (d *Device) stretched(op string, large, small device.Array, g device.ConvGeom) (yp, xp uint64) {
	if g.N < 0 || g.H < 1 || g.W < 1 || g.UpH < 1 || g.UpW < 1 || g.C < 0 {
		badGeometry(op, g, "impossible")
	}
	return d.f32n(op, "the stretched picture", large, g.N*g.UpH*g.UpW*g.C), d.f32n(op, "the small picture", small, g.N*g.H*g.W*g.C)
}

// tempArray is temp as an argument for another operation.
func (d *Device) tempArray(floats int) device.Array {
	b := d.temp(4 * floats)
	if b == nil {
		return device.Array{}
	}
	return device.Array{Buf: b, Len: floats, Type: device.F32}
}
