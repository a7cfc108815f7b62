package cpu

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func newDevice(t *testing.T, o Options) *Device {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func TestNewErrors(t *testing.T) {
	for name, o := range map[string]Options{
		"negative threads": {Threads: -1},
		"no such kernels":  {Kernels: "mmx"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLimit(t *testing.T) {
	d := newDevice(t, Options{Limit: 1 << 20})
	b, err := d.Alloc(1 << 19)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Alloc(1<<19 + 1); !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("beyond the limit: %v", err)
	}
	d.Release(b)
	if _, err := d.Alloc(1 << 20); err != nil {
		t.Errorf("after Release: %v", err)
	}
}

// failing maps nothing once full.
type failing struct {
	Anonymous
	full bool
}

func (f *failing) Map(size int) ([]byte, error) {
	if f.full {
		return nil, errors.New("no more")
	}
	return f.Anonymous.Map(size)
}

// A kernel that finds no memory for itself must not crash; Sync tells, once: a
// runner goes on with smaller pictures.
func TestOutOfMemoryInside(t *testing.T) {
	pages := &failing{}
	d := newDevice(t, Options{Pages: pages})
	b, err := d.Alloc(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	a := device.Array{Buf: b, Len: 1 << 10}
	multiply := func() {
		d.Fill(a, 1)
		d.MatMul(a.Matrix(32, 32), a.Matrix(32, 32), a.Matrix(32, 32), false, false, 1, device.Epilogue{})
		d.Fill(a, 1) // no answer to the failure before
	}
	pages.full = true
	multiply()
	if err := d.Sync(); !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("Sync: %v", err)
	}
	pages.full = false
	multiply()
	if err := d.Sync(); err != nil {
		t.Errorf("with memory again: %v", err)
	}
}

func TestIndexOutOfRange(t *testing.T) {
	d := newDevice(t, Options{})
	b, err := d.Alloc(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	f, ids := device.Array{Buf: b, Len: 8}, device.Array{Buf: b, Off: 100, Len: 1, Type: device.I32}
	d.Upload(ids, []byte{2, 0, 0, 0})
	d.Gather(f.Slice(0, 4).Matrix(1, 4), f.Matrix(2, 4), ids)
	if err := d.Sync(); err == nil || !strings.Contains(err.Error(), "row 2 of a table of 2 rows") {
		t.Errorf("Sync: %v", err)
	}
}

// TestWrongShapesPanic holds the messages that a mistaken caller gets.
func TestWrongShapesPanic(t *testing.T) {
	d := newDevice(t, Options{Poison: true})
	b, err := d.Alloc(400)
	if err != nil {
		t.Fatal(err)
	}
	gone, _ := d.Alloc(8)
	d.Release(gone)
	a := device.Array{Buf: b, Len: 100}
	w, err := d.Freeze(device.HostWeight{Type: device.F16, Shape: []int{5, 4}, Data: make([]byte, 40)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		call func()
	}{
		{"lies in a buffer that was released", func() { d.Add(a, a, device.Array{Buf: gone, Len: 100}) }},
		{"not in this device's memory", func() { d.Add(a, a, device.Array{Len: 100}) }},
		{"in a buffer of 448 bytes", func() { d.Fill(device.Array{Buf: b, Off: 50, Len: 100}, 0) }},
		{"has 99 elements, want 100", func() { d.Add(a, a, a.Slice(1, 99)) }},
		{"of type f16, want f32", func() { d.Add(a, a, device.Array{Buf: b, Len: 100, Type: device.F16}) }},
		{"y is 3×4, want 3×5", func() { d.Linear(a.Matrix(3, 4), a.Matrix(3, 4), w, nil, device.Epilogue{}) }},
		{"3 rows of 2 an image", func() {
			d.Linear(a.Matrix(3, 5), a.Matrix(3, 4), w, nil, device.Epilogue{RowVector: a.Matrix(1, 5), RowsPerImage: 2})
		}},
		{"dropout with probability 1", func() { d.DropoutMask(a.Matrix(1, 1), a.Matrix(1, 1), device.Dropout{P: 1}) }},
		{"Repack of a weight frozen as f16", func() { d.Repack(w, a.Slice(0, 20)) }},
		{"a weight of another shape", func() {
			d.Conv(a, a, w, device.ConvGeom{N: 1, H: 1, W: 1, C: 3, O: 5, KH: 1, KW: 1, Stride: 1}, nil, device.Epilogue{})
		}},
		{"larger than the padded picture", func() {
			d.ConvWeightGrad(a, a, a, device.ConvGeom{N: 1, H: 1, W: 1, C: 1, O: 1, KH: 3, KW: 3, Stride: 1}, 0)
		}},
	} {
		func() {
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, c.want) {
					t.Errorf("panic %q, want one with %q", got, c.want)
				}
			}()
			c.call()
		}()
	}
}

// stopAfter cancels in its third chunk; later ones wait for that to be seen.
type stopAfter struct {
	cancel context.CancelFunc
	ran    atomic.Int32
	flag   *atomic.Bool
}

func (s *stopAfter) run(*worker, int) {
	if s.ran.Add(1) >= 3 {
		s.cancel()
		for !s.flag.Load() { // the context tells from a goroutine of its own
			runtime.Gosched()
		}
	}
}

func TestCancelSkipsTheRest(t *testing.T) {
	for _, threads := range []int{1, 3} {
		d := newDevice(t, Options{Threads: threads})
		ctx, cancel := context.WithCancel(context.Background())
		d.Bind(ctx)
		s := &stopAfter{cancel: cancel, flag: d.pool.canceled}
		d.fork(s, 1000, 1<<30)
		if n := int(s.ran.Load()); n > 2+threads {
			t.Errorf("%d threads: %d chunks ran after the third canceled", threads, n)
		}
		if err := d.Sync(); !errors.Is(err, context.Canceled) {
			t.Errorf("Sync: %v", err)
		}
	}
}

// counter counts how often each chunk runs.
type counter [100]atomic.Int32

func (c *counter) run(_ *worker, chunk int) { c[chunk].Add(1) }

func TestForkRunsEachChunkOnce(t *testing.T) {
	d := newDevice(t, Options{Threads: 4})
	var c counter
	const times = 3000
	for i := range times {
		d.fork(&c, len(c), 1<<30)
		if i%500 == 0 {
			runtime.Gosched()
		}
	}
	for i := range c {
		if n := c[i].Load(); n != times {
			t.Errorf("chunk %d ran %d times, want %d", i, n, times)
		}
	}
}

// Calls must not allocate: a step of a small model makes thousands.
func TestCallsDoNotAllocate(t *testing.T) {
	d := newDevice(t, Options{})
	b, err := d.Alloc(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	a := device.Array{Buf: b, Len: 1 << 14}
	d.Fill(a, 1)
	w, err := d.Freeze(device.HostWeight{Shape: []int{8, 8, 3, 3}, Data: make([]byte, 8*8*9*4)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Freeze(device.HostWeight{Type: device.F16, Shape: []int{8, 8}, Data: make([]byte, 8*8*2)})
	if err != nil {
		t.Fatal(err)
	}
	g := device.ConvGeom{N: 1, H: 4, W: 4, C: 8, O: 8, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Bottom: 1, Right: 1}
	x, y, v := a.Slice(0, 128), a.Slice(128, 128), a.Slice(256, 8)
	low := []device.Low{{H: a.Matrix(16, 2), Up: a.Matrix(8, 2)}}
	att := device.AttentionGeom{Batch: 1, Heads: 2, Dim: 4, TQ: 16, TK: 16, Scale: 1}
	lse, stats := a.Slice(300, 32), a.Slice(400, 8)
	for name, f := range map[string]func(){
		"Conv": func() { d.Conv(y, x, w, g, low, device.Epilogue{Bias: v, Act: device.SiLU}) },
		"Linear": func() {
			d.Linear(y.Matrix(16, 8), x.Matrix(16, 8), l, low, device.Epilogue{Bias: v, Residual: a.Matrix(16, 8)})
		},
		"ConvBack":  func() { d.ConvBack(y, x, w, g, 1) },
		"MatMul":    func() { d.MatMul(y.Matrix(16, 8), x.Matrix(16, 8), a.Matrix(8, 8), false, true, 1, device.Epilogue{}) },
		"Attention": func() { d.Attention(y.Matrix(16, 8), lse, x.Matrix(16, 8), x.Matrix(16, 8), x.Matrix(16, 8), att) },
		"GroupNorm": func() {
			d.GroupNorm(y, stats, x, v, v, device.NormGeom{N: 1, Pixels: 16, C: 8, Groups: 4, Eps: 1}, true)
		},
		"Combine": func() { d.Combine(y, v.Slice(0, 2), x, y) },
	} {
		if n := testing.AllocsPerRun(20, f); n > 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
	}
}
