package lora_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Sets of different ranks and targets on one base do what the merged weights
// do; released, the base gives its own bits again. Ranks may add up to more
// than a layer is wide: lora_a and lora_b have 12 on layers of 8.
func TestAttachSeveral(t *testing.T) {
	root := paritytest.Roots(t)[0]
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		m := load(t, pool, root.Path("models/sd15-tiny"))
		defer m.release()
		inputs := inputsOf(t, root)
		predict := func(m *model) (y []float32) {
			run(t, m, func(p *autodiff.Pass) {
				var err error
				if y, err = m.predict(t, p, inputs); err != nil {
					t.Fatal(err)
				}
			})
			return y
		}
		before := predict(m)
		var mounts []lora.Mount
		for i, file := range []string{"lora_a", "lora_b", "lora_ext", "lora_ext"} {
			mounts = append(mounts, lora.Mount{Set: m.open(t, root.Path("lora/"+file+".safetensors")), Scale: []float32{0.5, -0.25, 0.75, -0.5}[i]})
		}
		mounted, err := lora.Attach(pool, m.unet, m.encoders, mounts)
		if err != nil {
			t.Fatal(err)
		}
		got := predict(m)
		if _, err := lora.Attach(pool, m.unet, m.encoders, mounts[:1]); err == nil || !strings.Contains(err.Error(), "carries an adapter already") {
			t.Errorf("a second mounting: got %v", err)
		}
		mounted.Release()
		mounted.Release()
		if after := predict(m); !slices.Equal(before, after) {
			t.Error("the base has changed")
		}

		source, err := lora.Merge(m.sources[lora.UNet], lora.UNet, mounts)
		if err != nil {
			t.Fatal(err)
		}
		l := nn.NewLoader(pool, source)
		merged := &model{pool: pool, unet: unet.Load(l, m.unet.Config)}
		merged.loaded(t, l)
		want := predict(merged)
		merged.release()
		if text := paritytest.Diff(nil, want, got, paritytest.Tolerance{Rel: 2e-5}); text != "" {
			t.Errorf("mounted and merged differ: %s", text)
		}
		if slices.Equal(got, before) {
			t.Error("the adapters did nothing")
		}

		// Other scales are other pictures; mounted again from what is resident, the
		// bits are the same, even where a run failed in between.
		for _, tt := range []struct {
			scale float32
			same  bool
		}{{0.25, false}, {0.5, true}, {1, false}, {2, false}, {3, false}, {4, false}, {0.5, true}} {
			mounts[0].Scale = tt.scale
			err := autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error {
				if mounted, err = lora.Attach(pool, m.unet, m.encoders, mounts); err != nil {
					t.Fatal(err)
				}
				return errors.New("broken off")
			})
			if err == nil {
				t.Fatal("the run did not fail")
			}
			if again := predict(m); slices.Equal(again, got) != tt.same {
				t.Errorf("scale %v: same bits %v, want %v", tt.scale, !tt.same, tt.same)
			}
			mounted.Release()
		}
		// A set alone is used where it was loaded, in a run that fails.
		var alone [][]float32
		for range 2 {
			mounts[1].Set.Unload()
			_ = autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error {
				if mounted, err = lora.Attach(pool, m.unet, m.encoders, mounts[1:2]); err != nil {
					t.Fatal(err)
				}
				if len(alone) == 0 {
					return nil
				}
				return errors.New("broken off")
			})
			alone = append(alone, predict(m))
			mounted.Release()
		}
		if !slices.Equal(alone[0], alone[1]) {
			t.Error("a set loaded in a run that fails gives other bits")
		}
		for _, mount := range mounts {
			mount.Set.Unload()
		}
	})
}

func TestAttachOtherBase(t *testing.T) {
	root := paritytest.Roots(t)[0]
	pool := enginetest.Pool(t)
	m := load(t, pool, root.Path("models/sd15-tiny"))
	defer m.release()
	xl := smallBase(t, "sdxl-tiny")
	set := randomSet(xl, 2, allTargets(xl, ""))
	_, err := lora.Attach(pool, m.unet, m.encoders, []lora.Mount{{Set: set, Scale: 1}})
	var wrong *lora.MismatchError
	if !errors.As(err, &wrong) {
		t.Errorf("got %v, want a MismatchError", err)
	}
	if _, err := lora.Merge(m.sources[lora.UNet], lora.UNet, []lora.Mount{{Set: set, Scale: 1}}); !errors.As(err, &wrong) {
		t.Errorf("Merge: got %v, want a MismatchError", err)
	}
}

// limited is a device that refuses allocations after some.
type limited struct {
	device.Device
	left int
}

func (d *limited) Alloc(size int) (device.Buffer, error) {
	if d.left--; d.left < 0 {
		return nil, device.ErrOutOfMemory
	}
	return d.Device.Alloc(size)
}

// However far mounting comes before memory ends, slots are empty afterwards and
// nothing is lost.
func TestAttachOutOfMemory(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Poison: true})
	if err != nil {
		t.Fatal(err)
	}
	config, texts := smallConfig(t)
	u, encoders := hollow(config, texts)
	base := smallBase(t, "sd15-tiny")
	attach := func(left int) (used int, err error) {
		small := &limited{dev, left}
		pool := tensor.NewPool(small)
		mounts := []lora.Mount{
			{Set: randomSet(base, 2, allTargets(base, lora.ExtendedTargets)), Scale: 1},
			{Set: randomSet(base, 3, allTargets(base, lora.ExtendedTargets)), Scale: 1},
		}
		mounted, err := lora.Attach(pool, u, encoders, mounts)
		used = left - small.left
		if err != nil {
			for _, m := range u.Modules() {
				if *m.Slot() != nil {
					t.Fatalf("after %d allocations: %s still has an adapter", left, m.Path)
				}
			}
			small.left = 1 << 30
			if mounted, err := lora.Attach(pool, u, encoders, mounts); err != nil {
				t.Fatal(err)
			} else {
				mounted.Release()
			}
		}
		mounted.Release()
		for _, m := range mounts {
			m.Set.Unload()
		}
		if pool.Live() != 0 || dev.Stats().Live != 0 {
			t.Fatalf("after %d allocations: %d tensors and %d bytes are left", left, pool.Live(), dev.Stats().Live)
		}
		return used, err
	}
	need, err := attach(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{0, 1, 7, need / 3, need / 2, need - 3, need - 2, need - 1} {
		if _, err := attach(left); !errors.Is(err, device.ErrOutOfMemory) {
			t.Fatalf("after %d of %d allocations: got %v", left, need, err)
		}
	}
}

func smallConfig(t testing.TB) (unet.Config, []clip.Config) {
	return configs(t, sdDir(t, "sd15-tiny"))
}

// hollow is a model without weights: slots are all that mounting needs.
func hollow(u unet.Config, encoders []clip.Config) (*unet.UNet, []*clip.Encoder) {
	var es []*clip.Encoder
	for _, c := range encoders {
		es = append(es, clip.Outline(c))
	}
	return unet.Outline(u), es
}

// Switching concepts on the shapes of SD 1.5: what a call pays before it draws.
// Again is a mounting whose sets and scales were mounted before, Scales one
// with scales that are new.
func BenchmarkAttach(b *testing.B) {
	u, err := unet.ParseConfig([]byte(`{"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "cross_attention_dim": 768,
		"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
		"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}`))
	if err != nil {
		b.Fatal(err)
	}
	text := clip.Config{HiddenSize: 768, IntermediateSize: 3072, Layers: 12, Heads: 12, HiddenAct: "quick_gelu"}
	model, encoders := hollow(u, []clip.Config{text})
	base := lora.Known()[0]
	for _, bb := range []struct {
		name    string
		sets    int
		rank    int
		targets lora.Targets
		scales  bool
	}{
		{"Again/One/Rank4", 1, 4, "", false},
		{"Again/Three/Rank16", 3, 16, "", false},
		{"Again/Two/Rank4/Extended", 2, 4, lora.ExtendedTargets, false},
		{"Scales/One/Rank16", 1, 16, "", true},
		{"Scales/Two/Rank4", 2, 4, "", true},
		{"Scales/Two/Rank16", 2, 16, "", true},
		{"Scales/Two/Rank4/Extended", 2, 4, lora.ExtendedTargets, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			dev, err := cpu.New(cpu.Options{})
			if err != nil {
				b.Fatal(err)
			}
			pool := tensor.NewPool(dev)
			var mounts []lora.Mount
			for range bb.sets {
				mounts = append(mounts, lora.Mount{Set: randomSet(base, bb.rank, allTargets(base, bb.targets)), Scale: 0.7})
			}
			attach := func() {
				m, err := lora.Attach(pool, model, encoders, mounts)
				if err != nil {
					b.Fatal(err)
				}
				if err := pool.Device.Sync(); err != nil {
					b.Fatal(err)
				}
				m.Release()
			}
			attach()
			for b.Loop() {
				if bb.scales {
					mounts[0].Scale++
				}
				attach()
			}
		})
	}
}
