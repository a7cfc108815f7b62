//go:build cuda

package cuda

import (
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// A step whose noise and coefficients change is replayed from the third time on, in
// one call, and gives the numbers that the same calls give one by one.
func TestReplay(t *testing.T) {
	for _, precision := range []device.DType{device.F32, device.BF16} {
		t.Run(precision.String(), func(t *testing.T) {
			calls := CountCalls(t)
			run := func(direct bool) (results [][]float32, q *queue) {
				eager := Calls{}
				d, err := Open(Options{Precision: precision, Direct: direct})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				p := &pair{T: t, random: newRandom(21), sides: [2]device.Device{d, nil}}
				for i := range 7 {
					d.Step()
					calls()
					results = append(results, p.step(d, i))
					got, ok := calls()
					want := eager
					switch {
					case i == 0:
						eager, want = got, Calls{Kernels: max(got.Kernels, 8)}
					case i == 1 && !direct: // recorded, and replayed at once
						want.Graphs = 1
					case !direct:
						want = Calls{Graphs: 1}
					}
					if ok && got != want {
						t.Errorf("direct: %v, step %d makes %+v launches, want %+v", direct, i, got, want)
					}
				}
				return results, &d.queue
			}
			want, _ := run(true)
			got, q := run(false)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("step %d has other bits when it is replayed", i)
				}
				if i > 0 && slices.Equal(want[i], want[i-1]) {
					t.Fatalf("steps %d and %d are equal: the test shows nothing", i-1, i)
				}
			}
			if q.off || q.captured != 1 || q.replayed != (q.all-1)/7*6 {
				t.Errorf("%d graphs, %d of %d operations replayed, off: %q", q.captured, q.replayed, q.all, q.note)
			}
		})
	}
}

// Where the driver has no memory for graphs, the same work is launched one by one.
func TestErrNoMemoryForGraphs(t *testing.T) {
	onFake(t)
	var want []float32
	for _, refused := range []string{"", "1"} {
		if refused != "" {
			t.Setenv("FAKE_CUDA_NO_GRAPHS", refused)
		}
		d, err := Open(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		p := &pair{T: t, random: newRandom(22), sides: [2]device.Device{d, nil}}
		var got []float32
		for i := range 4 {
			d.Step()
			got = append(got, p.step(d, i)...)
		}
		if want == nil {
			want = got
		}
		share, note := d.Replays()
		if (refused != "") != (share == 0) || (refused != "") != strings.Contains(note, "OUT_OF_MEMORY") {
			t.Errorf("refused: %q, %.2f of all operations replayed, %q", refused, share, note)
		}
		if !slices.Equal(got, want) {
			t.Error("other numbers without graphs")
		}
	}
}

// step allocates, computes and gives back, as a step of training does.
func (p *pair) step(d *Device, n int) []float32 {
	const m, k = 70, 48
	alloc := func(n int) device.Array {
		b, err := d.Alloc(4 * n)
		if err != nil {
			p.Fatal(err)
		}
		return device.Array{Buf: b, Len: n, Type: device.F32}
	}
	host := make([]byte, 4)
	host[0] = byte(n)
	counter := alloc(1)
	defer d.Release(counter.Buf)
	counter.Type = device.I32
	coef := alloc(2)
	defer d.Release(coef.Buf)
	y := alloc(m * k)
	defer d.Release(y.Buf)
	d.Upload(counter, host)
	d.Upload(coef, hyperBytes(float32(n), 0.5))
	d.Fill(y, 1)
	for range 2 {
		noise := alloc(m * k)
		d.Normal(noise, device.Draw{Key: 5, Step: counter})
		d.MatMul(y.Matrix(m, k), noise.Matrix(m, k), noise.Matrix(m, k).RowRange(0, k), false, true, 0.1, device.Epilogue{Beta: 1})
		d.Attention(noise.Matrix(m, k), device.Array{}, y.Matrix(m, k), y.Matrix(m, k), y.Matrix(m, k),
			device.AttentionGeom{Batch: 1, Heads: 2, Dim: k / 2, TQ: m, TK: m, Scale: 0.2})
		d.Combine(y, coef, noise, y)
		d.Release(noise.Buf)
	}
	return read(p.T, d, y)
}

// Chunks that do not come again make room for others.
func TestEvict(t *testing.T) {
	d, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	x := floats(t, d, 64)
	for i := range 2*mostChunks + 10 {
		for j := range leastOps {
			d.Fill(x.Slice(0, 1+j), float32(i/2%(mostChunks+5))) // twice each, so that there are graphs
		}
		d.Step()
	}
	if d.queue.count > mostChunks+1 || d.queue.captured < mostChunks/2 {
		t.Errorf("%d chunks are kept, %d were captured", d.queue.count, d.queue.captured)
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}
