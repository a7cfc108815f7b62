package devicetest

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func testMemory(r *rig) {
	r.sub("Transfer", func(r *rig) {
		v := r.normals(100)
		a, b := r.place(v), r.empty(40)
		r.Copy(b, a.Slice(30, 40))
		r.near("copied", r.download(b), v[30:70], exact)
		r.Fill(a.Slice(1, 50), -2)
		for i := 1; i < 51; i++ {
			v[i] = -2
		}
		r.near("filled", r.download(a), v, exact)
		r.Fill(a, 0)
		r.near("zeroed", r.download(a), make([]float64, 100), exact)
	})
	r.sub("UploadCopies", func(r *rig) {
		a := r.empty(4)
		host := encode([]float64{1, 2, 3, 4})
		r.Upload(a, host)
		clear(host)
		r.near("a", r.download(a), []float64{1, 2, 3, 4}, exact)
	})
	r.sub("Stats", func(r *rig) {
		before := r.Stats()
		b, err := r.Alloc(1000)
		if err != nil {
			r.Fatal(err)
		}
		if b.Size() < 1000 {
			r.Errorf("Alloc(1000) has %d bytes", b.Size())
		}
		held := r.Stats()
		if grown := held.Live - before.Live; grown < 1000 {
			r.Errorf("Live grew by %d", grown)
		}
		if held.Peak < held.Live {
			r.Errorf("Peak %d is below Live %d", held.Peak, held.Live)
		}
		r.Release(b)
		if after := r.Stats(); after.Live != before.Live || after.Peak < held.Peak {
			r.Errorf("after Release: %+v, before Alloc: %+v", after, before)
		}
	})
	r.sub("ManySizes", func(r *rig) {
		// Buffers must not overlap, whatever the order of the calls.
		type held struct {
			a device.Array
			v float64
		}
		var all []held
		for i := range 600 {
			if len(all) > 20 && r.random.IntN(2) == 0 {
				k := r.random.IntN(len(all))
				h := all[k]
				for _, x := range r.download(h.a) {
					if x != h.v {
						r.Fatalf("a buffer of %d elements was overwritten", h.a.Len)
					}
				}
				r.Release(h.a.Buf)
				all = slices.Delete(all, k, k+1)
				continue
			}
			n := 1 + r.random.IntN(1<<r.random.IntN(15))
			b, err := r.Alloc(4 * n)
			if err != nil {
				r.Fatal(err)
			}
			h := held{device.Array{Buf: b, Len: n, Type: device.F32}, float64(i)}
			r.Fill(h.a, float32(i))
			all = append(all, h)
		}
		for _, h := range all {
			r.Release(h.a.Buf)
		}
	})
	r.sub("ErrOutOfMemory", func(r *rig) {
		if _, err := r.Alloc(math.MaxInt / 2); !errors.Is(err, device.ErrOutOfMemory) {
			r.Errorf("Alloc of 4 EiB: error %v", err)
		}
		if err := r.Sync(); err != nil {
			r.Errorf("and then Sync: %v", err)
		}
	})
}

func testBind(r *rig) {
	ctx, cancel := context.WithCancel(context.Background())
	r.Bind(ctx)
	if err := r.Sync(); err != nil {
		r.Fatal(err)
	}
	cancel()
	if err := r.Sync(); !errors.Is(err, context.Canceled) {
		r.Errorf("Sync after the end of the bound context: %v", err)
	}
	a := r.place([]float64{1, 2})
	r.Add(a, a, a) // must return, with any result
	r.Bind(context.Background())
	if err := r.Sync(); err != nil {
		r.Errorf("Sync after binding another: %v", err)
	}
	a = r.place([]float64{1, 2})
	r.Add(a, a, a)
	r.near("a", r.download(a), []float64{2, 4}, exact)
}

func testWeights(r *rig) {
	v := r.normals(5 * 7)
	before := r.Stats()
	w, err := r.Freeze(device.HostWeight{Type: device.F32, Shape: []int{5, 7}, Data: encode(v)})
	if err != nil {
		r.Fatal(err)
	}
	if !slices.Equal(w.Shape(), []int{5, 7}) || w.Size() < 5*7*4 {
		r.Errorf("shape %v, %d bytes", w.Shape(), w.Size())
	}
	s := r.Stats()
	if s.Weights-before.Weights != int64(w.Size()) || s.Live-before.Live != int64(w.Size()) {
		r.Errorf("a weight of %d bytes took Stats from %+v to %+v", w.Size(), before, s)
	}
	x := r.normals(3 * 7)
	y := r.empty(3*5).Matrix(3, 5)
	nv := r.normals(5 * 7)
	r.Repack(w, r.place(nv))
	r.Linear(y, r.matrix(x, 3, 7, false), w, nil, device.Epilogue{})
	r.near("y after Repack", r.values(y), matmul(x, nv, 3, 5, 7, false, true), close32)
	live := r.Stats().Live - s.Live // what the test placed
	r.Thaw(w)
	if after := r.Stats(); after.Live-live != before.Live || after.Weights != before.Weights {
		r.Errorf("after Thaw %+v, before Freeze %+v", after, before)
	}
}
