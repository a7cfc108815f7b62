//go:build cuda

package cuda

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// TestRecord replays a small step whose noise comes from a counter on the
// device, and wants the numbers of the same step run call by call.
func TestRecord(t *testing.T) {
	for _, o := range []Options{{}, {Precision: device.BF16}} {
		t.Run(o.Precision.String(), func(t *testing.T) {
			const steps = 3
			p := newPair(t, o, "", 21)
			d := p.sides[0].(*Device)
			const m, k = 70, 48
			x, w := p.normals(m * k)[0], p.weight(device.F32, k, k)[0]
			y := p.nothing(m * k)[0]
			counter := p.place(device.I32, []byte{0, 0, 0, 0})[0]
			g := device.AttentionGeom{Batch: 1, Heads: 2, Dim: k / 2, TQ: m, TK: m, Scale: 0.2}
			step := func() error {
				// Temporary memory is released and taken again within the step.
				for range 2 {
					b, err := d.Alloc(4 * m * k)
					if err != nil {
						return err
					}
					noise := device.Array{Buf: b, Len: m * k, Type: device.F32}
					d.Normal(noise, device.Draw{Key: 5, Step: counter})
					d.Linear(y.Matrix(m, k), noise.Matrix(m, k), w, nil, device.Epilogue{Residual: x.Matrix(m, k)})
					d.Attention(noise.Matrix(m, k), device.Array{}, y.Matrix(m, k), y.Matrix(m, k), y.Matrix(m, k), g)
					d.Add(y, y, noise)
					d.Release(b)
				}
				return nil
			}
			set := func(n int) { d.Upload(counter, []byte{byte(n), 0, 0, 0}) }
			var want [][]float32
			for n := range steps {
				set(n)
				if err := step(); err != nil {
					t.Fatal(err)
				}
				want = append(want, read(t, d, y))
			}
			r, err := d.Record(step)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if r.Kernels() < 8 {
				t.Errorf("%d kernels were recorded", r.Kernels())
			}
			d.Fill(y, 0)
			if slices.Equal(read(t, d, y), want[0]) {
				t.Fatal("recording ran the kernels")
			}
			for n := range steps {
				set(n)
				r.Replay()
				if !slices.Equal(read(t, d, y), want[n]) {
					t.Errorf("replay %d has other bits than the calls", n)
				}
			}
		})
	}
}

func TestRecordErrors(t *testing.T) {
	d := open(t, Options{})
	defer d.Close()
	x := floats(t, d, 4)
	sentinel := errors.New("stop")
	if _, err := d.Record(func() error { d.Add(x, x, x); return sentinel }); !errors.Is(err, sentinel) {
		t.Errorf("Record: %v", err)
	}
	if _, err := d.Record(func() error { _, err := d.Record(func() error { return nil }); return err }); err == nil {
		t.Error("a recording within a recording: no error")
	}
	func() {
		defer func() {
			if r, _ := recover().(string); !strings.Contains(r, "Upload within a recording") {
				t.Errorf("recovered %q", r)
			}
		}()
		_, _ = d.Record(func() error { d.Upload(x, make([]byte, 16)); return nil })
	}()
	d.Fill(x, 2)
	d.Add(x, x, x)
	if got := read(t, d, x)[0]; got != 4 {
		t.Errorf("after failed recordings 2+2 is %v", got)
	}
}
