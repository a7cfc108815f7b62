package devicetest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// rig holds a device and what one test put on it.
type rig struct {
	*testing.T
	device.Device
	random *rand.Rand
	placed []device.Array // with their guards

	coarse bool    // normals are numbers of bf16
	looser float64 // what tolerances are multiplied by, where not 0
}

const (
	guard      = 19 // elements around every array; odd, so that alignment varies
	guardValue = 12345.0
)

func newRig(t *testing.T, dev device.Device) *rig {
	r := &rig{T: t, Device: dev, random: rand.New(rand.NewPCG(1, 2))}
	t.Cleanup(r.finish)
	return r
}

// finish looks at the guards and gives everything back.
func (r *rig) finish() {
	if err := r.Sync(); err != nil {
		r.Errorf("Sync: %v", err)
	}
	for _, whole := range r.placed {
		all := r.download(whole)
		for i := range guard {
			if all[i] != guardValue || all[len(all)-1-i] != guardValue {
				r.Errorf("wrote outside an array of %d elements", whole.Len-2*guard)
				break
			}
		}
		r.Release(whole.Buf)
	}
	r.placed = nil
}

// normals returns n random numbers that are floats.
func (r *rig) normals(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(float32(r.random.NormFloat64()))
		if r.coarse {
			v[i] = roundTo(v[i], 7, -126)
		}
	}
	return v
}

// place puts v on the device.
func (r *rig) place(v []float64) device.Array {
	r.Helper()
	all := make([]float64, len(v)+2*guard)
	for i := range all {
		all[i] = guardValue
	}
	copy(all[guard:], v)
	buf, err := r.Alloc(4 * len(all))
	if err != nil {
		r.Fatal(err)
	}
	a := device.Array{Buf: buf, Len: len(all), Type: device.F32}
	r.Upload(a, encode(all))
	r.placed = append(r.placed, a)
	return a.Slice(guard, len(v))
}

// ids puts integers on the device.
func (r *rig) ids(v ...int32) device.Array {
	r.Helper()
	buf, err := r.Alloc(4 * len(v))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.Release(buf) })
	a := device.Array{Buf: buf, Len: len(v), Type: device.I32}
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(x))
	}
	r.Upload(a, b)
	return a
}

// empty is an output of n elements, all NaN.
func (r *rig) empty(n int) device.Array {
	r.Helper()
	v := make([]float64, n)
	for i := range v {
		v[i] = math.NaN()
	}
	return r.place(v)
}

// matrix places v as rows × cols, in the middle of wider rows of NaN if wide.
func (r *rig) matrix(v []float64, rows, cols int, wide bool) device.Matrix {
	r.Helper()
	if !wide {
		return r.place(v).Matrix(rows, cols)
	}
	const left, right = 3, 4
	stride := left + cols + right
	all := make([]float64, rows*stride)
	for i := range all {
		all[i] = math.NaN()
		if c := i%stride - left; c >= 0 && c < cols {
			all[i] = v[i/stride*cols+c]
		}
	}
	return r.place(all).Matrix(rows, stride).Columns(left, cols)
}

func nans(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = math.NaN()
	}
	return v
}

func (r *rig) download(a device.Array) []float64 {
	b := make([]byte, a.Len*4)
	r.Download(b, a)
	return decode(b)
}

// values reads a matrix back.
func (r *rig) values(m device.Matrix) []float64 {
	if m.Rows*m.Cols == 0 {
		return nil
	}
	all := r.download(m.Array)
	var v []float64
	for i := range m.Rows {
		v = append(v, all[i*m.Stride:i*m.Stride+m.Cols]...)
	}
	return v
}

// freeze makes a weight of v, rounded to typ, and returns the rounded values.
func (r *rig) freeze(typ device.DType, v []float64, shape ...int) (device.Weight, []float64) {
	r.Helper()
	b, rounded := encodeAs(typ, v)
	odd := append(make([]byte, 1, 1+len(b)), b...) // files align nothing
	w, err := r.Freeze(device.HostWeight{Type: typ, Shape: shape, Data: odd[1:]})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.Thaw(w) })
	return w, rounded
}

// near compares with an error relative to the largest wanted value.
func (r *rig) near(name string, got, want []float64, tolerance float64) {
	r.Helper()
	if r.looser > 0 {
		tolerance *= r.looser
	}
	if len(got) != len(want) {
		r.Fatalf("%s: got %d values, want %d", name, len(got), len(want))
	}
	size := 1e-3
	for _, w := range want {
		size = max(size, math.Abs(w))
	}
	worst, at := 0.0, -1
	for i := range got {
		e := math.Abs(got[i]-want[i]) / size
		if got[i] == want[i] {
			e = 0 // infinities
		}
		if !(e <= worst) {
			worst, at = e, i
			if math.IsNaN(e) {
				break
			}
		}
	}
	if at >= 0 && !(worst <= tolerance) {
		r.Errorf("%s: element %d is %v, want %v (error %.2g of the largest, at most %.2g)",
			name, at, got[at], want[at], worst, tolerance)
	}
}

// The tolerances: of one operation in float32, and of exact ones.
const (
	close32 = 1e-5
	exact   = 0
)

// gradient returns d(Σ dy·f(x))/dx by central differences.
func gradient(f func(x []float64) []float64, x, dy []float64) []float64 {
	const h = 1e-4
	g := make([]float64, len(x))
	x = append([]float64(nil), x...)
	for i, old := range x {
		x[i] = old + h
		up := f(x)
		x[i] = old - h
		down := f(x)
		x[i] = old
		for j, w := range dy {
			g[i] += w * (up[j] - down[j]) / (2 * h)
		}
	}
	return g
}

func plus(a []float64, c float64, b []float64) []float64 {
	s := make([]float64, len(a))
	for i := range a {
		s[i] = a[i] + c*b[i]
	}
	return s
}

func encode(v []float64) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	}
	return b
}

func decode(b []byte) []float64 {
	v := make([]float64, len(b)/4)
	for i := range v {
		v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
	}
	return v
}
