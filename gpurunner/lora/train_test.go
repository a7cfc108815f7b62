package lora_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Fresh adapters do nothing; with lora_ext's factors in the slab they do what that
// file does, convolutions included; exported they are that file.
func TestTrainable(t *testing.T) {
	root := paritytest.Roots(t)[0]
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		m := load(t, pool, root.Path("models/sd15-tiny"))
		defer m.release()
		inputs := inputsOf(t, root)
		predict := func() (y []float32) {
			run(t, m, func(p *autodiff.Pass) {
				var err error
				if y, err = m.predict(t, p, inputs); err != nil {
					t.Fatal(err)
				}
			})
			return y
		}
		bare := predict()
		file := m.open(t, root.Path("lora/lora_ext.safetensors"))

		b := new(nn.SlabBuilder)
		var drawn []int
		trainable, err := lora.NewTrainable(pool, b, m.unet, m.encoders, lora.TrainOptions{
			Base: m.base, Rank: 4, Targets: lora.ExtendedTargets, Scale: 0.5,
			Init: func(index int, m *lora.Module, down []float32) {
				drawn = append(drawn, index)
				for i := range down {
					down[i] = float32(i%7) - 3
				}
			},
			Drop: func(index int, _ *lora.Module) device.Dropout {
				return device.Dropout{P: 0.5, Draw: device.Draw{Stream: uint32(index)}}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		slab := b.Build(pool)
		trainable.Training(false)
		if !slices.Equal(predict(), bare) {
			t.Error("fresh adapters change the prediction")
		}
		if trainable.Len() != len(file.Adapters) || len(drawn) != len(file.Adapters) || drawn[len(drawn)-1] != len(drawn)-1 {
			t.Fatalf("%d adapters, %d drawn, want %d", trainable.Len(), len(drawn), len(file.Adapters))
		}

		// The original's order: UNet, then text encoder; up, then down.
		var order []string
		for _, p := range []lora.Part{lora.UNet, lora.TextEncoder} {
			for _, m := range m.base.Targets(p, lora.ExtendedTargets) {
				order = append(order, m.String()+".up", m.String()+".down")
			}
		}
		values := make([]float32, slab.Value.Len())
		byName := map[string][]float32{}
		for i := range file.Adapters {
			a := &file.Adapters[i]
			byName[a.Module.String()+".up"], byName[a.Module.String()+".down"] = a.Up, a.Down
		}
		at := 0
		for i, p := range slab.Params {
			if p.Name != order[i] || p.Off != at {
				t.Fatalf("parameter %d is %s at %d, want %s at %d", i, p.Name, p.Off, order[i], at)
			}
			at += copy(values[p.Off:], byName[p.Name])
		}
		off, n := trainable.Span(slab, lora.UNet)
		off2, n2 := trainable.Span(slab, lora.TextEncoder)
		if off != 0 || off2 != n || n+n2 != len(values) {
			t.Errorf("spans %d+%d, %d+%d of %d", off, n, off2, n2, len(values))
		}

		slab.Value.SetFloat32(values)
		slab.Repack()
		exported := trainable.Export("trained", file.Tokens)
		got := predict()
		file.Unload()
		trainable.Release()
		slab.Release()

		// Scale 0.5 in training is folded into up.
		mounted, err := lora.Attach(pool, m.unet, m.encoders, []lora.Mount{{Set: exported, Scale: 1}})
		if err != nil {
			t.Fatal(err)
		}
		want := predict()
		mounted.Release()
		exported.Unload()
		if text := paritytest.Diff(nil, want, got, paritytest.Tolerance{Rel: 2e-5}); text != "" {
			t.Errorf("trained and exported differ: %s", text)
		}
		for i := range exported.Adapters {
			for j, v := range exported.Adapters[i].Up {
				if v != 0.5*file.Adapters[i].Up[j] {
					t.Fatalf("%s: up[%d] is %v, want half of %v", exported.Adapters[i].Module, j, v, file.Adapters[i].Up[j])
				}
			}
			if !slices.Equal(exported.Adapters[i].Down, file.Adapters[i].Down) {
				t.Fatalf("%s: down differs", exported.Adapters[i].Module)
			}
		}
	})
}

// Dropout acts in training and not while drawing, and gradients reach every
// factor.
func TestTrainableGradients(t *testing.T) {
	root := paritytest.Roots(t)[0]
	pool := enginetest.Pool(t)
	m := load(t, pool, root.Path("models/sd15-tiny"))
	defer m.release()
	inputs := inputsOf(t, root)
	step := autodiff.Constant(pool.FromInt32([]int32{3}, 1))
	defer step.Release()
	b := new(nn.SlabBuilder)
	trainable, err := lora.NewTrainable(pool, b, m.unet, nil, lora.TrainOptions{
		Base: m.base, Rank: 2, Targets: lora.ExtendedTargets,
		Init: func(index int, _ *lora.Module, down []float32) {
			for i := range down {
				down[i] = float32((i*7+index)%11-5) / 8
			}
		},
		Drop: func(index int, _ *lora.Module) device.Dropout {
			return device.Dropout{P: 0.5, Draw: device.Draw{Key: 9, Stream: uint32(index), Step: step.T.Data}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	slab := b.Build(pool)
	defer slab.Release()
	defer trainable.Release()
	values := slab.Value.Float32()
	for _, p := range slab.Params {
		if strings.HasSuffix(p.Name, ".up") {
			for i := range p.Len {
				values[p.Off+i] = float32(i%5-2) / 16
			}
		}
	}
	slab.Value.SetFloat32(values)
	slab.Repack()
	predict := func() (y []float32) {
		run(t, m, func(p *autodiff.Pass) { y, err = m.predict(t, p, inputs) })
		if err != nil {
			t.Fatal(err)
		}
		return y
	}
	noisy := predict()
	trainable.Training(false)
	quiet := predict()
	trainable.Training(true)
	if slices.Equal(noisy, quiet) || !slices.Equal(noisy, predict()) {
		t.Error("dropout does not follow Training")
	}
	err = autodiff.Record(context.Background(), pool, autodiff.Options{}, func(p *autodiff.Pass) error {
		return m.learn(t, p, inputs)
	})
	if err != nil {
		t.Fatal(err)
	}
	grads := slab.Grad.Float32()
	for _, p := range slab.Params {
		// The middle block sees a single token here, which attends to itself whatever its query and key are.
		alone := strings.Contains(p.Name, "mid_block") && (strings.Contains(p.Name, "attn1.to_q.") || strings.Contains(p.Name, "attn1.to_k."))
		if got := slices.ContainsFunc(grads[p.Off:p.Off+p.Len], func(g float32) bool { return g != 0 }); got == alone {
			t.Errorf("%s has a gradient: %v", p.Name, got)
		}
	}
}

func TestNewTrainableErrors(t *testing.T) {
	config, texts := smallConfig(t)
	base := smallBase(t, "sd15-tiny")
	for _, tt := range []struct {
		name string
		rank int
		want string
	}{
		{"ErrRankZero", 0, "it must be at least 1"},
		{"ErrRankTooLarge", 12, "take a rank of at most 8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, encoders := hollow(config, texts)
			pool := enginetest.Pool(t)
			_, err := lora.NewTrainable(pool, new(nn.SlabBuilder), u, encoders, lora.TrainOptions{
				Base: base, Rank: tt.rank, Init: func(int, *lora.Module, []float32) {},
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			for _, m := range append(u.Modules(), encoders[0].Modules()...) {
				if *m.Slot() != nil {
					t.Fatalf("%s still has an adapter", m.Path)
				}
			}
		})
	}
	t.Run("ErrTaken", func(t *testing.T) {
		u, encoders := hollow(config, texts)
		pool := enginetest.Pool(t)
		options := lora.TrainOptions{Base: base, Rank: 2, Init: func(int, *lora.Module, []float32) {}}
		first, err := lora.NewTrainable(pool, new(nn.SlabBuilder), u, []*clip.Encoder{nil}, options)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Release()
		if _, err := lora.NewTrainable(pool, new(nn.SlabBuilder), u, encoders, options); err == nil || !strings.Contains(err.Error(), "carries an adapter already") {
			t.Errorf("got %v", err)
		}
	})
}
