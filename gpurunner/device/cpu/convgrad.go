package cpu

import (
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// convGrad is the task of ConvWeightGrad: per kernel position one product
// dyᵀ·x over all pixels, both read in place; rows of pixels are its segments,
// shortened where the position looks past the picture's edge.
//
// A chunk is a block of outputs by a panel of inputs, all positions.
type convGrad struct {
	d      *Device
	dw     []float32
	x, dy  []float32
	g      device.ConvGeom
	outH   int
	outW   int
	blocks int // of outputs
	beta   float32
}

const gradOutputs = 56

// ConvWeightGrad implements device.Convolutions.
func (d *Device) ConvWeightGrad(dw, x, dy device.Array, g device.ConvGeom, beta float32) {
	const op = "ConvWeightGrad"
	checkConv(op, g)
	if g.UpH != 0 {
		flat := g
		flat.H, flat.W, flat.UpH, flat.UpW = g.UpH, g.UpW, 0, 0
		up := d.tempArray(g.N * g.UpH * g.UpW * g.C)
		if up.None() {
			return
		}
		d.Upsample(up, x, g)
		d.ConvWeightGrad(dw, up, dy, flat, beta)
		d.Release(up.Buf)
		return
	}
	t := &d.tasks.convGrad
	*t = convGrad{d: d, g: g, outH: g.OutH(), outW: g.OutW(), beta: beta}
	t.dw = d.f32n(op, "dw", dw, g.O*g.C*g.KH*g.KW)
	t.x = d.f32n(op, "x", x, g.N*g.H*g.W*g.C)
	t.dy = d.f32n(op, "dy", dy, g.N*t.outH*t.outW*g.O)
	t.blocks = ceil(g.O, gradOutputs)
	if len(t.dw) > 0 && d.scratch(gradOutputs*kernel.Panel*g.KH*g.KW) {
		d.fork(t, t.blocks*ceil(g.C, kernel.Panel), len(t.dw)*g.N*t.outH*t.outW)
	}
}

func (t *convGrad) run(w *worker, chunk int) {
	g := &t.g
	o0 := chunk % t.blocks * gradOutputs
	i0 := chunk / t.blocks * kernel.Panel
	outs, ins := min(gradOutputs, g.O-o0), min(kernel.Panel, g.C-i0)
	taps := g.KH * g.KW
	for tap := range taps {
		t.position(w, w.scratch[tap*gradOutputs*kernel.Panel:], tap/g.KW, tap%g.KW, o0, i0, outs, ins)
	}
	for o := range outs {
		dst := t.dw[((o0+o)*g.C+i0)*taps:][:ins*taps]
		for tap := range taps {
			src := w.scratch[(tap*gradOutputs+o)*kernel.Panel:][:ins]
			for i, v := range src {
				if t.beta != 0 {
					v += float32(t.beta * dst[i*taps+tap])
				}
				dst[i*taps+tap] = v
			}
		}
	}
}

// position computes c [outs,ins], rows kernel.Panel apart, for one kernel
// position.
func (t *convGrad) position(w *worker, c []float32, ky, kx, o0, i0, outs, ins int) {
	g := &t.g
	tile := &w.tile
	*tile = kernel.Tile{C: &c[0], CStride: kernel.Panel, M: outs, N: ins}
	// Output columns whose input column x·stride+kx−left exists.
	x0 := ceil(max(0, g.Left-kx), g.Stride)
	x1 := min(t.outW, ceil(max(0, g.W+g.Left-kx), g.Stride))
	segs, sum := w.segs[:0], 0
	flush := func() {
		tile.Segments = segs
		t.d.kernels.MatMul(tile)
		tile.Accumulate = true
		segs, sum = segs[:0], 0
	}
	for row := range g.N * t.outH {
		img, y := row/t.outH, row%t.outH*g.Stride+ky-g.Top
		if y < 0 || y >= g.H {
			continue
		}
		for x := x0; x < x1; x += kernel.BlockK {
			k := min(kernel.BlockK, x1-x)
			if sum+k > kernel.BlockK {
				flush()
			}
			segs = append(segs, kernel.Segment{
				A:    &t.dy[(row*t.outW+x)*g.O+o0],
				ARow: 1, ACol: g.O,
				B:    unsafe.Pointer(&t.x[((img*g.H+y)*g.W+x*g.Stride+kx-g.Left)*g.C+i0]),
				BRow: g.Stride * g.C,
				K:    k,
			})
			sum += k
		}
	}
	if sum > 0 {
		flush()
	}
	w.segs = segs
	if !tile.Accumulate {
		clear(c[:outs*kernel.Panel])
	}
}
