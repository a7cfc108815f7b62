package generate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/sampler"
)

// madeUp is a concept with a token, of numbers that follow from the seed, on the
// layers of these classes or names.
func madeUp(m *diffusion.Model, seed uint64, rank int, targets lora.Targets, size float64) *lora.Set {
	layers := generate.Layers("embedded", m)
	random := rand.New(rand.NewPCG(seed, 1))
	numbers := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(size * random.NormFloat64())
		}
		return v
	}
	s := &lora.Set{Name: fmt.Sprint("concept ", seed), Base: layers,
		Tokens: []lora.Token{{Name: fmt.Sprintf("<t%d>", seed), Rows: [][][]float32{{numbers(m.Text[0].Config.HiddenSize)}}}}}
	for _, part := range []lora.Part{lora.UNet, lora.TextEncoder} {
		for _, l := range layers.Targets(part, targets) {
			rank := min(rank, l.In, l.Out)
			kernel := max(1, l.Kernel)
			s.Adapters = append(s.Adapters, lora.Adapter{Module: l, Rank: rank, Scale: 1, Down: numbers(rank * l.In * kernel * kernel), Up: numbers(l.Out * rank)})
		}
	}
	return s
}

// drawn is one user's drawing.
type drawn struct {
	request generate.Request
	mounts  []lora.Mount

	ctx      context.Context
	pictures [][]byte
	err      error
	together int
}

// draw draws in a seat of its own, or alone in that of a batch of one.
func (d *drawn) draw(m *diffusion.Model, b *generate.Batch) {
	ctx := d.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	seat, err := b.Enter(ctx)
	if d.err = err; err != nil {
		return
	}
	defer seat.Leave()
	concepts, err := generate.Mount(m, d.mounts)
	if d.err = err; err != nil {
		return
	}
	defer concepts.Release()
	r := d.request
	r.Seat, r.Concepts, r.Words = seat, concepts, concepts.Words
	d.pictures = nil
	d.err = generate.Draw(ctx, m, r, func(_ int, p *imageops.Picture) error {
		d.pictures = append(d.pictures, p.Pix)
		return nil
	})
	d.together = seat.Shared()
}

// drawTogether draws all at once. The first waits until the others have come, so
// that they do meet.
func drawTogether(t *testing.T, m *diffusion.Model, b *generate.Batch, all []*drawn) {
	t.Helper()
	gate, err := b.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, d := range all {
		wg.Go(func() { d.draw(m, b) })
	}
	for b.Waiting() < len(all) {
		runtime.Gosched()
	}
	gate.Leave()
	wg.Wait()
}

// mixture are drawings that differ in all that one of a size may differ in.
func mixture(m *diffusion.Model) []*drawn {
	picture := imageops.New(64, 64)
	for i := range picture.Pix {
		picture.Pix[i] = uint8(i * 7)
	}
	mask := &generate.Mask{Width: 64, Height: 64, Values: make([]uint8, 64*64)}
	for i := range mask.Values[:2000] {
		mask.Values[i] = 255
	}
	a, b, c := madeUp(m, 1, 4, lora.DefaultTargets, 0.1), madeUp(m, 2, 16, lora.ExtendedTargets, 0.03), madeUp(m, 3, 1, lora.DefaultTargets, 0.1)
	c.Adapters = slices.DeleteFunc(c.Adapters, func(a lora.Adapter) bool { return strings.Contains(a.Module.Path, "attn2") })
	one := generate.Request{Width: 64, Height: 64, Steps: 4, Guidance: 4, Seed: 5, Prompt: "a fish", Scheduler: sampler.DPMMultistep}
	with := func(change func(*generate.Request), mounts ...lora.Mount) *drawn {
		r := one
		change(&r)
		return &drawn{request: r, mounts: mounts}
	}
	return []*drawn{
		with(func(r *generate.Request) {}),
		with(func(r *generate.Request) { r.Prompt, r.Seed = "a photo of <t1> in the snow at night", 6 }, lora.Mount{Set: a, Scale: 1}),
		with(func(r *generate.Request) {
			r.Prompt, r.Negative, r.Steps, r.Num = "<t2> and <t1>", "a tree, blue, a very long list of things that nobody wants to see", 6, 2
		}, lora.Mount{Set: b, Scale: 0.5}, lora.Mount{Set: a, Scale: -0.75}),
		with(func(r *generate.Request) { r.Scheduler, r.Guidance, r.Prompt = sampler.EulerAncestral, 1, "<t3>" }, lora.Mount{Set: c, Scale: 1, ScaleText: true}),
		with(func(r *generate.Request) { r.Image, r.Strength, r.Steps, r.Scheduler = picture, 0.5, 8, sampler.PNDM }, lora.Mount{Set: b, Scale: 1}),
		with(func(r *generate.Request) { r.Image, r.Mask, r.Strength = picture, mask, 1 }),
	}
}

// TestTogether draws mixtures at once and each alone, on several numbers of
// threads and in both precisions, and wants the same bytes.
func TestTogether(t *testing.T) {
	kinds := []cpu.Options{{Threads: 1}, {Threads: 3}}
	if len(cpu.BF16Sets()) > 0 {
		kinds = append(kinds, cpu.Options{Threads: 2, Precision: device.BF16})
	}
	var first [][][]byte // of float32
	for _, o := range kinds {
		t.Run(fmt.Sprintf("%v/%d", o.Precision, o.Threads), func(t *testing.T) {
			m := openOn(t, o)
			all := mixture(m)
			alone := generate.NewBatch(m.Pool.Device, 1)
			var want [][][]byte
			for i, d := range all {
				d.draw(m, alone)
				if d.err != nil || d.together > 0 {
					t.Fatalf("drawing %d alone: %v, %d evaluations together", i, d.err, d.together)
				}
				want = append(want, d.pictures)
			}
			if o.Precision == device.F32 {
				if first == nil {
					first = want
				}
				for i := range want {
					same(t, fmt.Sprintf("drawing %d alone on %d threads", i, o.Threads), want[i], first[i])
				}
			}
			for _, chosen := range [][]int{{1, 2, 3}, {3, 3, 0}, {4, 5, 2}, {0, 1, 2, 3, 4, 5}} {
				for _, most := range []int{2, 8} {
					b := generate.NewBatch(m.Pool.Device, most)
					var some []*drawn
					for _, i := range chosen {
						some = append(some, &drawn{request: all[i].request, mounts: all[i].mounts})
					}
					live := m.Pool.Device.Stats().Live
					drawTogether(t, m, b, some)
					met := 0
					for j, d := range some {
						if d.err != nil {
							t.Fatalf("drawing %d of %v: %v", chosen[j], chosen, d.err)
						}
						met += d.together
						same(t, fmt.Sprintf("drawing %d of %v, %d at once", chosen[j], chosen, most), d.pictures, want[chosen[j]])
					}
					if met < 4 {
						t.Errorf("%v, %d at once: %d evaluations were together", chosen, most, met)
					}
					if now := m.Pool.Device.Stats().Live; most == 8 && now > live {
						t.Errorf("%v: %d bytes are left of it", chosen, now-live)
					}
				}
			}
		})
	}
}

func same(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d pictures, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("%s: picture %d has other bytes", what, i)
		}
	}
}

// TestTogetherApart: what ends one drawing leaves the others be.
func TestTogetherApart(t *testing.T) {
	m := openOn(t, cpu.Options{Threads: 2})
	alone := generate.NewBatch(m.Pool.Device, 1)
	broken := madeUp(m, 9, 4, lora.DefaultTargets, 0.1)
	for i := range broken.Adapters {
		if a := &broken.Adapters[i]; a.Module.Part == lora.UNet {
			a.Up[0] = float32(math.NaN())
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	over := errors.New("the disk is full")
	for _, c := range []struct {
		name string
		bad  func(*drawn)
		want string
	}{
		{"Cancel", func(d *drawn) {
			d.ctx = canceled
			d.request.Progress = func(s generate.Step) {
				if s.Step == 2 {
					cancel()
				}
			}
		}, "context canceled"},
		{"NotANumber", func(d *drawn) { d.mounts = []lora.Mount{{Set: broken, Scale: 1}} }, "not a number"},
		{"Scheduler", func(d *drawn) { d.request.Steps = 0 }, "number of inference steps is 0"},
		{"Panic", func(d *drawn) {
			d.request.Progress = func(generate.Step) { panic(over) }
		}, "the disk is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := mixture(m)[:3]
			for _, d := range all {
				d.draw(m, alone)
			}
			bad := &drawn{request: all[0].request}
			c.bad(bad)
			some := []*drawn{{request: all[1].request, mounts: all[1].mounts}, bad, {request: all[2].request, mounts: all[2].mounts}}
			b := generate.NewBatch(m.Pool.Device, 4)
			gate, err := b.Enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for _, d := range some {
				wg.Go(func() {
					defer func() {
						if r := recover(); r != nil {
							d.err = r.(error)
						}
					}()
					d.draw(m, b)
				})
			}
			for b.Waiting() < len(some) {
				runtime.Gosched()
			}
			gate.Leave()
			wg.Wait()
			if bad.err == nil || !strings.Contains(bad.err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", bad.err, c.want)
			}
			for i, d := range []*drawn{some[0], some[2]} {
				if d.err != nil || d.together == 0 {
					t.Errorf("its neighbour: %v, %d evaluations together", d.err, d.together)
				}
				same(t, "its neighbour", d.pictures, all[i+1].pictures)
			}
		})
	}
}

// TestTogetherMemory: what does not fit into the memory at once is drawn in parts,
// and one that does not fit alone fails alone.
func TestTogetherMemory(t *testing.T) {
	m := openOn(t, cpu.Options{Threads: 2})
	alone := generate.NewBatch(m.Pool.Device, 1)
	all := mixture(m)[:4]
	for _, d := range all {
		d.draw(m, alone)
	}
	peak := m.Pool.Device.Stats().Peak
	for _, more := range []int64{1 << 20, 3 << 20, 6 << 20} {
		small := openOn(t, cpu.Options{Threads: 2, Limit: peak + more})
		var some []*drawn
		for _, d := range mixture(small)[:4] {
			some = append(some, &drawn{request: d.request, mounts: d.mounts})
		}
		drawTogether(t, small, generate.NewBatch(small.Pool.Device, 8), some)
		for i, d := range some {
			if d.err != nil {
				t.Errorf("%d bytes more than for one: drawing %d: %v", more, i, d.err)
				continue
			}
			same(t, fmt.Sprintf("drawing %d", i), d.pictures, all[i].pictures)
		}
	}
}
