package cpu

import "github.com/lowrank/lowrank/gpurunner/device"

// upsample is the task of Upsample and UpsampleBack. A chunk is a row of the
// larger picture, back of the smaller.
type upsample struct {
	d    *Device
	y, x []float32
	g    device.ConvGeom
	back bool
	beta float32
}

// Upsample implements device.Convolutions.
func (d *Device) Upsample(y, x device.Array, g device.ConvGeom) {
	t := &d.tasks.upsample
	t.set(d, "Upsample", y, x, g)
	t.back = false
	if len(t.y) > 0 {
		d.fork(t, g.N*g.UpH, moved*len(t.y))
	}
}

// UpsampleBack implements device.Convolutions.
func (d *Device) UpsampleBack(dx, dy device.Array, g device.ConvGeom, beta float32) {
	t := &d.tasks.upsample
	t.set(d, "UpsampleBack", dy, dx, g)
	t.back, t.beta = true, beta
	if len(t.x) > 0 {
		d.fork(t, g.N*g.H, moved*len(t.y))
	}
}

func (t *upsample) set(d *Device, op string, y, x device.Array, g device.ConvGeom) {
	if g.N < 0 || g.H < 1 || g.W < 1 || g.UpH < 1 || g.UpW < 1 || g.C < 0 {
		badGeometry(op, g, "impossible")
	}
	t.d, t.g = d, g
	t.y = d.f32n(op, "the stretched picture", y, g.N*g.UpH*g.UpW*g.C)
	t.x = d.f32n(op, "the small picture", x, g.N*g.H*g.W*g.C)
}

func (t *upsample) run(_ *worker, chunk int) {
	g := &t.g
	if !t.back {
		img, i := chunk/g.UpH, chunk%g.UpH
		src := t.x[(img*g.H+i*g.H/g.UpH)*g.W*g.C:][:g.W*g.C]
		dst := t.y[chunk*g.UpW*g.C:][:g.UpW*g.C]
		for j := range g.UpW {
			copy(dst[j*g.C:(j+1)*g.C], src[j*g.W/g.UpW*g.C:])
		}
		return
	}
	img, i := chunk/g.H, chunk%g.H
	dst := t.x[chunk*g.W*g.C:][:g.W*g.C]
	if t.beta == 0 {
		clear(dst)
	} else if t.beta != 1 {
		t.d.kernels.Scale(dst, t.beta, dst)
	}
	// Rows r with floor(r·H/UpH) = i.
	for r := ceil(i*g.UpH, g.H); r < ceil((i+1)*g.UpH, g.H); r++ {
		src := t.y[(img*g.UpH+r)*g.UpW*g.C:][:g.UpW*g.C]
		for j := range g.UpW {
			cell := dst[j*g.W/g.UpW*g.C:][:g.C]
			t.d.kernels.Add(cell, cell, src[j*g.C:(j+1)*g.C])
		}
	}
}
