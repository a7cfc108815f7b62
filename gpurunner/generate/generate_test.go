package generate_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// openEmbedded opens the embedded model on so many threads.
func openEmbedded(t *testing.T, threads int) *diffusion.Model {
	t.Helper()
	return openOn(t, cpu.Options{Threads: threads})
}

// openOn opens the embedded model on a device.
func openOn(t *testing.T, o cpu.Options) *diffusion.Model {
	t.Helper()
	o.Poison = true
	dev, err := cpu.New(o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := diffusion.Open(tensor.NewPool(dev), enginetest.Base(t, embedded.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Release)
	return m
}

func drawAll(t *testing.T, m *diffusion.Model, r generate.Request) [][]byte {
	t.Helper()
	var pictures [][]byte
	err := generate.Draw(context.Background(), m, r, func(i int, p *imageops.Picture) error {
		if i != len(pictures) {
			t.Errorf("picture %d came after %d others", i, len(pictures))
		}
		pictures = append(pictures, p.Pix)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pictures
}

func TestSameBytes(t *testing.T) {
	r := generate.Request{Prompt: "a castle on a red background", Negative: "a tree", Width: 80, Height: 64, Steps: 3, Guidance: 4.5, Seed: 9, Num: 2,
		Scheduler: sampler.EulerAncestral}
	one := drawAll(t, openEmbedded(t, 1), r)
	for _, threads := range []int{2, 4} {
		for i, p := range drawAll(t, openEmbedded(t, threads), r) {
			if !bytes.Equal(p, one[i]) {
				t.Errorf("picture %d on %d threads differs from that on one", i, threads)
			}
		}
	}
	if bytes.Equal(one[0], one[1]) {
		t.Error("two pictures of a request are equal")
	}
	r.Num = 1
	if alone := drawAll(t, openEmbedded(t, 2), r); !bytes.Equal(alone[0], one[0]) {
		t.Error("the first picture depends on how many were asked for")
	}
	r.Seed++
	if other := drawAll(t, openEmbedded(t, 2), r); bytes.Equal(other[0], one[0]) {
		t.Error("another seed gave the same picture")
	}
}

// TestLast: a model that is not used afterwards gives back all but the decoder on
// its way, draws the same, and can be used after all.
func TestLast(t *testing.T) {
	m := openEmbedded(t, 2)
	r := generate.Request{Prompt: "a fish", Width: 64, Height: 64, Steps: 2, Guidance: 4, Seed: 1, Num: 2}
	want := drawAll(t, m, r)
	all := m.Pool.Device.Stats().Live
	r.Last = true
	for range 2 {
		for i, p := range drawAll(t, m, r) {
			if !bytes.Equal(p, want[i]) {
				t.Errorf("picture %d is another", i)
			}
		}
		if live := m.Pool.Device.Stats().Live; live > all/4 {
			t.Errorf("%d bytes of %d are still there", live, all)
		}
	}
}

// TestReuse draws twice on one model, so that nothing of the first run is left
// behind in the second.
func TestReuse(t *testing.T) {
	m := openEmbedded(t, 2)
	r := generate.Request{Prompt: "a fish", Width: 64, Height: 64, Steps: 2, Guidance: 4, Seed: 1}
	first := drawAll(t, m, r)
	live := m.Pool.Live()
	if again := drawAll(t, m, r); !bytes.Equal(first[0], again[0]) {
		t.Error("the same request gave another picture")
	}
	if m.Pool.Live() != live {
		t.Errorf("%d tensors are live after the second run, %d after the first", m.Pool.Live(), live)
	}
}

func TestCancel(t *testing.T) {
	m := openEmbedded(t, 2)
	r := generate.Request{Prompt: "a fish", Width: 64, Height: 64, Steps: 50, Guidance: 4, Seed: 1}
	drawAll(t, m, generate.Request{Prompt: "a fish", Width: 64, Height: 64, Steps: 1, Guidance: 4}) // loads the networks
	live := m.Pool.Live()
	ctx, cancel := context.WithCancel(context.Background())
	steps := 0
	r.Progress = func(generate.Step) {
		if steps++; steps == 3 {
			cancel()
		}
	}
	err := generate.Draw(ctx, m, r, func(int, *imageops.Picture) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if steps > 4 {
		t.Errorf("%d steps were done after the third was canceled", steps-3)
	}
	if got := m.Pool.Live(); got != live {
		t.Errorf("%d tensors are live, %d were before", got, live)
	}
	r.Progress = nil
	r.Steps = 2
	drawAll(t, m, r)
}

// TestSizeBeyondMemory: a picture that the device cannot hold is refused before
// anything of its size is asked for.
func TestSizeBeyondMemory(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Limit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m, err := diffusion.Open(tensor.NewPool(dev), enginetest.Base(t, embedded.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	for _, tt := range []struct {
		name string
		side int
		want string
	}{
		{"OK", 64, ""},
		{"ErrLarge", 1024, "size 1024x1024: the picture needs at least 0.6 GiB of memory, and 0.1 GiB are left; lower width and height"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := generate.CheckSize(m, tt.side, tt.side); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if s := dev.Stats(); s.Peak > 0 {
				t.Errorf("%d bytes were held", s.Peak)
			}
		})
	}
}

func TestDrawErrors(t *testing.T) {
	m := openEmbedded(t, 2)
	good := func() generate.Request {
		return generate.Request{Prompt: "a fish", Width: 64, Height: 64, Steps: 1, Guidance: 4}
	}
	picture := imageops.New(64, 64)
	for _, tt := range []struct {
		name string
		mend func(*generate.Request)
		want string
	}{
		{"ErrSize", func(r *generate.Request) { r.Width = 60 }, "60x64: width and height must be multiples of 8"},
		{"ErrSizeZero", func(r *generate.Request) { r.Height = 0 }, "64x0"},
		{"ErrSizeSide", func(r *generate.Request) { r.Width, r.Height = 65536, 65536 }, "65536x65536: width and height must be at most 16384"},
		{"ErrSizeWork", func(r *generate.Request) { r.Width, r.Height = 16384, 16384 }, "16384x16384: one step of this model would take more than"},
		{"ErrScheduler", func(r *generate.Request) { r.Scheduler = "EULER" }, `scheduler "EULER" is not one of DDIM`},
		{"ErrSteps", func(r *generate.Request) { r.Steps = 0 }, "number of inference steps is 0"},
		{"ErrNum", func(r *generate.Request) { r.Num = -1 }, "number of pictures is -1"},
		{"ErrStrength", func(r *generate.Request) { r.Image, r.Strength = picture, 1.5 }, "prompt strength is 1.5"},
		{"ErrNoStepLeft", func(r *generate.Request) { r.Image, r.Strength = picture, 0.1 }, "leaves no step"},
		{"ErrMaskAlone", func(r *generate.Request) { r.Mask = &generate.Mask{} }, "a mask needs an image"},
		{"ErrImageSize", func(r *generate.Request) { r.Image, r.Strength, r.Width = picture, 1, 128 }, "the input picture is 64x64 and the drawing 128x64"},
		{"ErrMaskSize", func(r *generate.Request) {
			r.Image, r.Strength, r.Mask = picture, 1, &generate.Mask{Width: 8, Height: 8, Values: make([]uint8, 64)}
		}, "the mask is 8x8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			tt.mend(&r)
			err := generate.Draw(context.Background(), m, r, func(int, *imageops.Picture) error { return nil })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
