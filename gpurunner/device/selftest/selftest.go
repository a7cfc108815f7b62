// Package selftest compares what a device computes with what another does.
package selftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Check is one operation of a self-test, compared with the processor's result.
type Check struct {
	Name    string
	Error   float64 // largest, as a share of the largest element
	Allowed float64
	Took    time.Duration
}

// OK reports whether the device computes what the reference does.
func (c Check) OK() bool { return c.Error <= c.Allowed }

// Run runs an operation of each family on two devices, on the same numbers, in
// a few seconds at most. precision is that of d's products; the reference's are
// in float32.
func Run(d, reference device.Device, precision device.DType) ([]Check, error) {
	t := &selfTest{devices: [2]device.Device{d, reference}, random: rand.New(rand.NewPCG(1, 2)), product: 2e-5}
	switch precision {
	case device.BF16:
		t.product = 1.0 / 100
	case device.F16:
		t.product = 1.0 / 800
	}
	for _, f := range []func(){t.linear, t.conv, t.attention, t.norm, t.noise, t.optimiser} {
		f()
	}
	t.release()
	return t.checks, errors.Join(t.err, d.Sync(), reference.Sync())
}

// Write says what a self-test found. Its error names what is wrong.
func Write(w io.Writer, checks []Check) error {
	var err error
	for _, c := range checks {
		verdict := "ok"
		if !c.OK() {
			verdict = "WRONG"
			err = errors.Join(err, fmt.Errorf("%s is off by %.2g of the reference's result, allowed is %.2g", c.Name, c.Error, c.Allowed))
		}
		fmt.Fprintf(w, "%-14s %s, off by %.2g, %v\n", c.Name, verdict, c.Error, c.Took.Round(time.Microsecond))
	}
	return err
}

type selfTest struct {
	devices [2]device.Device // under test, reference
	random  *rand.Rand
	product float64 // allowed of what is summed in the device's precision
	checks  []Check
	held    [2][]device.Buffer
	err     error
}

// array is n normal numbers times scale on both devices, all NaN for scale 0.
func (t *selfTest) array(n int, scale float32) (a [2]device.Array) {
	host := make([]byte, 4*n)
	for i := range n {
		v := float32(t.random.NormFloat64()) * scale
		if scale == 0 {
			v = float32(math.NaN())
		}
		binary.LittleEndian.PutUint32(host[4*i:], math.Float32bits(v))
	}
	return t.upload(device.F32, host)
}

func (t *selfTest) upload(typ device.DType, host []byte) (a [2]device.Array) {
	for i, d := range t.devices {
		b, err := d.Alloc(len(host))
		if err != nil {
			// The rest of the test works on nothing, and reports this.
			t.err = errors.Join(t.err, err)
			continue
		}
		t.held[i] = append(t.held[i], b)
		a[i] = device.Array{Buf: b, Len: len(host) / typ.Size(), Type: typ}
		d.Upload(a[i], host)
	}
	return a
}

func (t *selfTest) release() {
	for i, d := range t.devices {
		for _, b := range t.held[i] {
			d.Release(b)
		}
	}
}

// run compares out after f.
func (t *selfTest) run(name string, allowed float64, out [2]device.Array, f func(d device.Device, i int)) {
	if t.err != nil {
		return
	}
	d := t.devices[0]
	f(d, 0)
	if err := d.Sync(); err != nil { // the first run loads the kernels
		t.err = err
		return
	}
	begin := time.Now()
	f(d, 0)
	t.err = d.Sync()
	took := time.Since(begin)
	f(t.devices[1], 1)
	f(t.devices[1], 1)
	got, want := t.read(0, out), t.read(1, out)
	size, worst := 1e-6, 0.0
	for i := range want {
		size = max(size, math.Abs(want[i]))
	}
	for i := range want {
		e := math.Abs(got[i]-want[i]) / size
		if !(e <= worst) { // NaN too
			worst = e
			if math.IsNaN(e) {
				worst = math.Inf(1)
				break
			}
		}
	}
	t.checks = append(t.checks, Check{Name: name, Error: worst, Allowed: allowed, Took: took})
}

func (t *selfTest) read(i int, a [2]device.Array) []float64 {
	b := make([]byte, 4*a[i].Len)
	t.devices[i].Download(b, a[i])
	v := make([]float64, a[i].Len)
	for j := range v {
		v[j] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*j:])))
	}
	return v
}

// weight is a random frozen weight on both devices, stored as f32; thaw gives
// it back.
func (t *selfTest) weight(shape ...int) (w [2]device.Weight, thaw func()) {
	n := 1
	for _, d := range shape {
		n *= d
	}
	host := make([]byte, 0, 4*n)
	for range n {
		host = binary.LittleEndian.AppendUint32(host, math.Float32bits(float32(t.random.NormFloat64()/math.Sqrt(float64(n/shape[0])))))
	}
	for i, d := range t.devices {
		var err error
		if w[i], err = d.Freeze(device.HostWeight{Type: device.F32, Shape: shape, Data: host}); err != nil {
			t.err = errors.Join(t.err, err)
		}
	}
	return w, func() {
		for i, d := range t.devices {
			if w[i] != nil {
				d.Thaw(w[i])
			}
		}
	}
}

func (t *selfTest) linear() {
	const m, n, k, rank = 154, 320, 768, 8
	x, y, dx := t.array(m*k, 1), t.array(m*n, 0), t.array(m*k, 0)
	h, up := t.array(m*rank, 1), t.array(n*rank, 0.1)
	w, thaw := t.weight(n, k)
	defer thaw()
	t.run("linear", t.product, y, func(d device.Device, i int) {
		d.Linear(y[i].Matrix(m, n), x[i].Matrix(m, k), w[i], []device.Low{{H: h[i].Matrix(m, rank), Up: up[i].Matrix(n, rank)}}, device.Epilogue{})
	})
	t.run("linear back", 2*t.product, dx, func(d device.Device, i int) {
		d.LinearBack(dx[i].Matrix(m, k), y[i].Matrix(m, n), w[i], nil, 0)
	})
}

func (t *selfTest) conv() {
	g := device.ConvGeom{N: 1, H: 16, W: 16, C: 64, O: 96, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
	x, y, dx := t.array(16*16*64, 1), t.array(16*16*96, 0), t.array(16*16*64, 0)
	w, thaw := t.weight(96, 64, 3, 3)
	defer thaw()
	t.run("conv", t.product, y, func(d device.Device, i int) { d.Conv(y[i], x[i], w[i], g, nil, device.Epilogue{}) })
	t.run("conv back", 2*t.product, dx, func(d device.Device, i int) { d.ConvBack(dx[i], y[i], w[i], g, 0) })
}

func (t *selfTest) attention() {
	g := device.AttentionGeom{Batch: 1, Heads: 2, Dim: 40, TQ: 256, TK: 77, Scale: 0.158}
	q, k, v := t.array(256*80, 1), t.array(77*80, 1), t.array(77*80, 1)
	o, lse, dq, dk, dv := t.array(256*80, 0), t.array(2*256, 0), t.array(256*80, 0), t.array(77*80, 0), t.array(77*80, 0)
	m := func(a device.Array, rows int) device.Matrix { return a.Matrix(rows, 80) }
	t.run("attention", t.product, o, func(d device.Device, i int) {
		d.Attention(m(o[i], 256), lse[i], m(q[i], 256), m(k[i], 77), m(v[i], 77), g)
	})
	t.run("attention back", 4*t.product, dq, func(d device.Device, i int) {
		d.AttentionBack(m(dq[i], 256), m(dk[i], 77), m(dv[i], 77), m(q[i], 256), m(o[i], 256), m(q[i], 256), m(k[i], 77), m(v[i], 77), lse[i], g)
	})
}

func (t *selfTest) norm() {
	g := device.NormGeom{N: 2, Pixels: 256, C: 320, Groups: 32, Eps: 1e-5}
	x, y, stats := t.array(2*256*320, 1), t.array(2*256*320, 0), t.array(2*32*2, 0)
	gamma, beta := t.array(320, 1), t.array(320, 1)
	t.run("group norm", 2e-5, y, func(d device.Device, i int) { d.GroupNorm(y[i], stats[i], x[i], gamma[i], beta[i], g, true) })
}

// noise is the same to the bit on every device.
func (t *selfTest) noise() {
	y, step := t.array(40001, 0), t.upload(device.I32, []byte{3, 0, 0, 0})
	t.run("noise", 0, y, func(d device.Device, i int) { d.Normal(y[i], device.Draw{Key: 1 << 40, Stream: 2, Step: step[i]}) })
}

func (t *selfTest) optimiser() {
	const n = 10000
	p, g, m, v := t.array(n, 1), t.array(n, 1), t.array(n, 1), t.array(n, 1)
	var hyper []byte
	for _, x := range []float32{1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001} {
		hyper = binary.LittleEndian.AppendUint32(hyper, math.Float32bits(x))
	}
	h := t.upload(device.F32, hyper)
	for i, d := range t.devices {
		if t.err == nil {
			d.Mul(v[i], v[i], v[i])
		}
	}
	t.run("optimiser", 2e-6, p, func(d device.Device, i int) {
		d.AdamW(device.Slab{Value: p[i], Grad: g[i], M: m[i], V: v[i]}, []device.AdamWSegment{{Len: n, Hyper: h[i]}}, device.Array{})
	})
}
