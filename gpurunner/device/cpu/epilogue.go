package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// epilogue is a device.Epilogue in memory, with the y it stores to.
type epilogue struct {
	alpha    float32
	bias     []float32
	vector   matrix // one row per image
	perImage int
	act      func(y, x []float32)
	drop     dropout
	residual matrix
	beta     float32
	y        matrix
	direct   bool // C may be computed in y itself, as nothing reads the old y
	plain    bool // y = C
	add      bool // y = y + C, with C's terms added to y as they are summed
	sum      bool // y = C + bias + residual
}

func (d *Device) epilogue(op string, e device.Epilogue, y matrix, alpha float32) epilogue {
	r := epilogue{alpha: alpha, y: y, beta: e.Beta, direct: true}
	r.bias = d.optional(op, "bias", e.Bias, y.cols)
	if !e.RowVector.None() {
		if e.RowsPerImage <= 0 || y.rows%e.RowsPerImage != 0 {
			badRows(op, y.rows, e.RowsPerImage)
		}
		r.vector = d.matOf(op, "row vector", e.RowVector, y.rows/e.RowsPerImage, y.cols)
		r.perImage = e.RowsPerImage
	}
	r.act = d.activation(op, e.Act)
	r.drop = d.dropout(op, e.Drop)
	if !e.Residual.None() {
		r.residual = d.matOf(op, "residual", e.Residual, y.rows, y.cols)
		r.direct = false
	}
	if e.Beta != 0 {
		r.direct = false
	}
	r.plain = r.direct && r.bare()
	r.sum = r.bias != nil && r.residual.p != nil && r.beta == 0 && alpha == 1 && r.vector.none() && r.act == nil && !r.drop.on
	return r
}

// bare reports whether C is stored, or added to something, as it is.
func (e *epilogue) bare() bool {
	return e.alpha == 1 && e.bias == nil && e.vector.none() && e.act == nil && !e.drop.on
}

// accumulate lets y += C be computed in y itself, where nothing else is asked.
// Only products that can begin with what y holds may use it.
func (e *epilogue) accumulate() {
	if e.beta == 1 && e.residual.none() && e.bare() {
		e.direct, e.plain, e.add = true, true, true
	}
}

// store finishes rows m0… and columns n0… of y from c, which may be that part
// of y itself if direct.
func (e *epilogue) store(w *worker, set *kernel.Set, c []float32, cStride, m0, n0, m, n int) {
	if e.plain {
		return
	}
	if e.sum {
		e.storeSum(w, set, c, cStride, m0, n0, m, n)
		return
	}
	for i := range m {
		row := m0 + i
		v := c[i*cStride:][:n:n]
		if e.alpha != 1 {
			set.Scale(v, e.alpha, v)
		}
		if e.bias != nil {
			set.Add(v, v, e.bias[n0:n0+n])
		}
		if e.vector.p != nil {
			set.Add(v, v, e.vector.row(row / e.perImage)[n0:n0+n])
		}
		if e.act != nil {
			e.act(v, v)
		}
		if e.drop.on {
			e.drop.apply(set, v, v, uint64(row)*uint64(e.y.cols)+uint64(n0))
		}
		if e.direct {
			continue
		}
		y := e.y.row(row)[n0 : n0+n]
		switch {
		case e.residual.p == nil && e.beta == 1:
			set.Add(y, y, v)
		case e.residual.p == nil:
			e.blend(set, y, v)
		default:
			res := e.residual.row(row)[n0 : n0+n]
			if e.beta == 0 {
				set.Add(y, v, res)
			} else {
				set.Add(v, v, res)
				e.blend(set, y, v)
			}
		}
	}
}

// storeSum is store for the most common sum of three, in one pass.
func (e *epilogue) storeSum(w *worker, set *kernel.Set, c []float32, cStride, m0, n0, m, n int) {
	terms := &w.three
	*terms = [3]kernel.Term{{C: 1}, {C: 1, X: e.bias[n0 : n0+n]}, {C: 1}}
	for i := range m {
		terms[0].X = c[i*cStride:][:n]
		terms[2].X = e.residual.row(m0 + i)[n0 : n0+n]
		set.Combine(e.y.row(m0 + i)[n0:n0+n], terms[:])
	}
}

// blend computes y = v + beta·y.
func (e *epilogue) blend(set *kernel.Set, y, v []float32) {
	if e.beta == 1 {
		set.Add(y, y, v)
		return
	}
	set.Scale(y, e.beta, y)
	set.Add(y, y, v)
}

// dropout is a device.Dropout whose step has been read.
type dropout struct {
	on        bool
	draw      kernel.Draw
	threshold uint32 // numbers below it drop their element
	scale     float32
}

func (d *Device) dropout(op string, a device.Dropout) dropout {
	if a.P == 0 {
		return dropout{}
	}
	if !(a.P > 0 && a.P < 1) {
		badProbability(op, a.P)
	}
	return dropout{
		on:        true,
		draw:      d.draw(op, a.Draw),
		threshold: uint32(float64(a.P) * (1 << 32)),
		scale:     1 / (1 - a.P),
	}
}

func (p *dropout) apply(set *kernel.Set, y, x []float32, first uint64) {
	set.Dropout(y, x, p.draw, first, p.threshold, p.scale)
}

func (d *Device) draw(op string, a device.Draw) kernel.Draw {
	if a.Step.Len != 1 {
		badLen(op, "step", a.Step, 1)
	}
	step := uint32(d.i32(op, "step", a.Step)[0])
	return kernel.Draw{Key: a.Key, Counter: [3]uint32{a.Stream, step, a.Micro}}
}

func (d *Device) activation(op string, f device.Activation) func(y, x []float32) {
	switch f {
	case device.Identity:
		return nil
	case device.SiLU:
		return d.kernels.SiLU
	case device.GELU:
		return d.kernels.GELU
	case device.GELUTanh:
		return d.kernels.GELUTanh
	case device.QuickGELU:
		return d.kernels.QuickGELU
	}
	badActivation(op, f)
	return nil
}
