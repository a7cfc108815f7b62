package cpu

import (
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// mapped is the task of the pointwise operations. A chunk is a run of
// mapElements.
type mapped struct {
	d     *Device
	y     []float32
	a, b  []float32
	f     func(y, x []float32)    // y = f(a)
	f2    func(y, a, b []float32) // y = f(a,b)
	acc   float32                 // + acc·y
	terms []kernel.Term           // y = Σ
}

const mapElements = 8192

// Combine implements device.Elementwise.
func (d *Device) Combine(y, coef device.Array, x ...device.Array) {
	const op = "Combine"
	t := &d.tasks.mapped
	terms := t.terms[:0]
	*t = mapped{d: d, y: d.f32(op, "y", y)}
	if len(x) == 0 {
		clear(t.y)
		return
	}
	for i, c := range d.f32n(op, "coef", coef, len(x)) {
		terms = append(terms, kernel.Term{C: c, X: d.f32n(op, "x", x[i], y.Len)})
	}
	t.terms = terms
	t.start(len(x))
	t.terms = t.terms[:0]
}

// Add implements device.Elementwise.
func (d *Device) Add(y, a, b device.Array) { d.map2("Add", d.kernels.Add, y, a, b, 0) }

// Mul implements device.Elementwise.
func (d *Device) Mul(y, a, b device.Array) { d.map2("Mul", d.kernels.Mul, y, a, b, 0) }

// Activate implements device.Elementwise.
func (d *Device) Activate(f device.Activation, y, x device.Array) {
	const op = "Activate"
	t := &d.tasks.mapped
	*t = mapped{d: d, y: d.f32n(op, "y", y, x.Len), a: d.f32(op, "x", x), f: d.activation(op, f), terms: t.terms}
	t.start(4)
}

// ActivateBack implements device.Elementwise.
func (d *Device) ActivateBack(f device.Activation, dx, dy, x device.Array, acc float32) {
	const op = "ActivateBack"
	var slope func(dx, dy, x []float32)
	switch f {
	case device.Identity:
		t := &d.tasks.mapped
		*t = mapped{d: d, y: d.f32n(op, "dx", dx, dy.Len), a: d.f32(op, "dy", dy), acc: acc, terms: t.terms}
		t.start(1)
		return
	case device.SiLU:
		slope = d.kernels.SiLUBack
	case device.GELU:
		slope = d.kernels.GELUBack
	case device.GELUTanh:
		slope = d.kernels.GELUTanhBack
	case device.QuickGELU:
		slope = d.kernels.QuickGELUBack
	default:
		badActivation(op, f)
	}
	d.map2(op, slope, dx, dy, x, acc)
}

func (d *Device) map2(op string, f func(y, a, b []float32), y, a, b device.Array, acc float32) {
	t := &d.tasks.mapped
	*t = mapped{d: d, y: d.f32(op, "y", y), f2: f, acc: acc, terms: t.terms}
	t.a, t.b = d.f32n(op, "the first operand", a, y.Len), d.f32n(op, "the second operand", b, y.Len)
	t.start(4)
}

func (t *mapped) start(cost int) {
	if len(t.y) > 0 && t.d.scratch(mapElements) {
		t.d.fork(t, ceil(len(t.y), mapElements), moved*cost*len(t.y))
	}
}

func (t *mapped) run(w *worker, chunk int) {
	set := t.d.kernels
	lo := chunk * mapElements
	hi := min(lo+mapElements, len(t.y))
	y := t.y[lo:hi]
	dst := y
	if t.acc != 0 {
		dst = w.scratch[:len(y)]
	}
	switch {
	case t.f2 != nil:
		t.f2(dst, t.a[lo:hi], t.b[lo:hi])
	case t.f != nil:
		t.f(dst, t.a[lo:hi])
	case t.a != nil:
		copy(dst, t.a[lo:hi])
	default:
		t.combine(w, y, lo, hi)
	}
	if t.acc != 0 {
		accumulate(set, y, dst, t.acc)
	}
}

// combine hands the kernel at most five terms at a time. The sum of more grows
// in scratch, as y may be one of the later ones.
func (t *mapped) combine(w *worker, y []float32, lo, hi int) {
	const most = 5
	var part [most]kernel.Term
	terms := w.terms[:0]
	dst := y
	if len(t.terms) > most {
		dst = w.scratch[:len(y)]
	}
	for i, x := range t.terms {
		if i < most {
			part[i] = kernel.Term{C: x.C, X: x.X[lo:hi]}
		}
	}
	terms = append(terms, part[:min(len(t.terms), most)]...)
	t.d.kernels.Combine(dst, terms)
	w.terms = terms
	if len(t.terms) > most {
		for _, x := range t.terms[most:] {
			t.d.kernels.Axpy(dst, x.C, x.X[lo:hi])
		}
		copy(y, dst)
	}
}
