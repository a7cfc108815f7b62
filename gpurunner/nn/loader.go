package nn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Source gives weights by name, in the layout of PyTorch: [N,K] and
// [O,I,kh,kw], row-major, little endian.
type Source interface {
	Weight(name string) (device.HostWeight, bool)
}

// Loader makes layers. Its methods never fail: what is missing or wrong is
// collected, and Err tells it all at once after the model is built.
type Loader struct {
	Pool *tensor.Pool

	src    Source
	prefix string
	shared *loading
}

// loading is what a loader and its children share.
type loading struct {
	ctx     context.Context
	trained func(name string) bool
	slab    *SlabBuilder
	errs    []error
	packed  []device.Weight
	tensors []*tensor.Tensor
	full    bool // the device has no memory: the rest is not tried
}

// NewLoader returns a loader of weights that are frozen.
func NewLoader(pool *tensor.Pool, src Source) *Loader {
	return &Loader{Pool: pool, src: src, shared: &loading{ctx: context.Background()}}
}

// Until makes the loader give up when ctx ends: large models take seconds. Err
// then is the context's error.
func (l *Loader) Until(ctx context.Context) *Loader {
	l.shared.ctx = ctx
	return l
}

// Train makes the weights that trained names become parameters of slab, in the
// order in which the model asks for them.
func (l *Loader) Train(slab *SlabBuilder, trained func(name string) bool) *Loader {
	l.shared.slab, l.shared.trained = slab, trained
	return l
}

// In returns the loader of a submodule.
func (l *Loader) In(format string, args ...any) *Loader {
	child := *l
	child.prefix = l.Path(fmt.Sprintf(format, args...))
	return &child
}

// Path is the full name of a submodule or weight; the empty name is the module
// itself.
func (l *Loader) Path(name string) string {
	switch {
	case name == "":
		return l.prefix
	case l.prefix == "":
		return name
	}
	return l.prefix + "." + name
}

// Err returns what was wrong, the first few things of many, nil if nothing was.
func (l *Loader) Err() error {
	if err := l.shared.ctx.Err(); err != nil {
		return err
	}
	const most = 3
	errs := l.shared.errs
	switch n := len(errs); {
	case n == 0:
		return nil
	case n == 1:
		return errs[0]
	case n <= most:
		return sentence{errs, ""}
	default:
		return sentence{errs[:most], fmt.Sprintf("; and %d more", n-most)}
	}
}

// sentence is several errors on one line.
type sentence struct {
	errs []error
	end  string
}

func (s sentence) Error() string {
	var parts []string
	for _, err := range s.errs {
		parts = append(parts, err.Error())
	}
	return strings.Join(parts, "; ") + s.end
}

func (s sentence) Unwrap() []error { return s.errs }

// Fail adds an error to those that Err returns.
func (l *Loader) Fail(err error) { l.shared.errs = append(l.shared.errs, err) }

// Resources returns what the loaded layers hold on the device, to give it back.
func (l *Loader) Resources() *Resources {
	return &Resources{pool: l.Pool, packed: l.shared.packed, tensors: l.shared.tensors}
}

// Resources are the frozen weights of a model on a device.
type Resources struct {
	pool    *tensor.Pool
	packed  []device.Weight
	tensors []*tensor.Tensor
}

// Release gives back the weights' memory. The model must not be used again.
func (r *Resources) Release() {
	for _, w := range r.packed {
		r.pool.Device.Thaw(w)
	}
	for _, t := range r.tensors {
		t.Release()
	}
	r.packed, r.tensors = nil, nil
}

// find looks a weight up and checks its shape: one of wants, which must have
// equal numbers of elements (a 1×1 convolution may be stored as a matrix).
func (l *Loader) find(name string, wants ...[]int) (device.HostWeight, bool) {
	path := l.Path(name)
	if l.shared.ctx.Err() != nil || l.shared.full {
		return device.HostWeight{}, false
	}
	w, ok := l.src.Weight(path)
	if !ok {
		l.Fail(fmt.Errorf("weight %q is missing", path))
		return w, false
	}
	for _, want := range wants {
		if equal(w.Shape, want) {
			if i, bad := notFinite(w); bad {
				l.Fail(fmt.Errorf("weight %q is not finite (element %d)", path, i))
				return w, false
			}
			w.Shape = wants[0]
			return w, true
		}
	}
	l.Fail(fmt.Errorf("weight %q has shape %v, the configuration asks for %v", path, w.Shape, wants[0]))
	return w, false
}

// matrix loads a weight for products: shape [N,K] or [O,I,kh,kw].
func (l *Loader) matrix(name string, wants ...[]int) (w autodiff.Weight) {
	host, ok := l.find(name, wants...)
	if !ok {
		return w
	}
	if path := l.Path(name); l.trains(path) {
		values := Float32(host)
		w.Master = l.shared.slab.Add(path, values, wants[0]...)
		host = device.HostWeight{Type: device.F32, Shape: wants[0], Data: bytesOf(values)}
		packed, err := l.freeze(path, host)
		if err != nil {
			return w
		}
		w.Packed = packed
		l.shared.slab.onStep(packed, w.Master)
		l.shared.packed = append(l.shared.packed, packed)
		return w
	}
	packed, err := l.freeze(l.Path(name), host)
	if err != nil {
		return w
	}
	l.forget(l.Path(name))
	w.Packed = packed
	l.shared.packed = append(l.shared.packed, packed)
	return w
}

func (l *Loader) freeze(path string, host device.HostWeight) (device.Weight, error) {
	packed, err := l.Pool.Device.Freeze(host)
	if err != nil {
		l.Fail(fmt.Errorf("weight %q: %w", path, err))
		l.shared.full = l.shared.full || errors.Is(err, device.ErrOutOfMemory)
	}
	return packed, err
}

// plain loads a weight that kernels read as f32: biases, scales, embeddings.
func (l *Loader) plain(name string, shape ...int) *autodiff.Value {
	host, ok := l.find(name, shape)
	if !ok {
		return nil
	}
	values := Float32(host)
	if path := l.Path(name); l.trains(path) {
		return l.shared.slab.Add(path, values, shape...)
	}
	t := l.Pool.FromFloat32(values, shape...).Keep()
	l.shared.tensors = append(l.shared.tensors, t)
	return autodiff.Constant(t)
}

func (l *Loader) trains(path string) bool {
	return l.shared.trained != nil && l.shared.trained(path)
}

// Host returns a weight that stays with its file instead of the device, such
// as an embedding table of which a prompt needs 77 rows.
func (l *Loader) Host(name string, shape ...int) device.HostWeight {
	path := l.Path(name)
	w, ok := l.src.Weight(path)
	switch {
	case !ok:
		l.Fail(fmt.Errorf("weight %q is missing", path))
	case !equal(w.Shape, shape):
		l.Fail(fmt.Errorf("weight %q has shape %v, the configuration asks for %v", path, w.Shape, shape))
	}
	return w
}

// Row widens row i of a matrix.
func Row(w device.HostWeight, i int) []float32 {
	bytes := w.Shape[1] * w.Type.Size()
	return Float32(device.HostWeight{Type: w.Type, Data: w.Data[i*bytes : (i+1)*bytes]})
}

// Float32 widens a weight, exactly.
func Float32(w device.HostWeight) []float32 {
	size := w.Type.Size()
	values := make([]float32, len(w.Data)/size)
	for i := range values {
		values[i] = element(w.Type, w.Data[i*size:])
	}
	return values
}

func element(t device.DType, b []byte) float32 {
	switch t {
	case device.F16:
		return half.FromF16(binary.LittleEndian.Uint16(b))
	case device.BF16:
		return half.FromBF16(binary.LittleEndian.Uint16(b))
	}
	return math.Float32frombits(binary.LittleEndian.Uint32(b))
}

func bytesOf(values []float32) []byte {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return b
}

// notFinite finds a NaN or infinity: all bits of the exponent set.
func notFinite(w device.HostWeight) (index int, bad bool) {
	switch w.Type {
	case device.F16, device.BF16:
		exponent := uint16(0x7c00)
		if w.Type == device.BF16 {
			exponent = 0x7f80
		}
		for i := 0; i+2 <= len(w.Data); i += 2 {
			if binary.LittleEndian.Uint16(w.Data[i:])&exponent == exponent {
				return i / 2, true
			}
		}
	default:
		const exponent = 0x7f800000
		for i := 0; i+4 <= len(w.Data); i += 4 {
			if binary.LittleEndian.Uint32(w.Data[i:])&exponent == exponent {
				return i / 4, true
			}
		}
	}
	return 0, false
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
