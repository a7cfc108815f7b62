//go:build cuda

package cuda_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// On a GPU without bf16 training is in f32, or refused.
func TestErrTrainingF16(t *testing.T) {
	dev, err := cuda.Open(cuda.Options{Precision: device.F16, Direct: true})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	m := openTiny(t, dev)
	defer m.Release()
	_, err = train.Run(context.Background(), train.Job{Model: m, Options: train.Advanced()})
	if err == nil || !strings.Contains(err.Error(), "training in f16 would lose small gradients; use bf16") {
		t.Errorf("Run: %v", err)
	}
}

// openTiny opens the tiny base model on a device.
func openTiny(t *testing.T, dev device.Device) *diffusion.Model {
	t.Helper()
	m, err := diffusion.Open(tensor.NewPool(dev), enginetest.Base(t, paritytest.Roots(t)[0].Path("models/sd15-tiny")))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// trainTiny trains the tiny base model and returns the curve and the file.
func trainTiny(t *testing.T, dev device.Device, progress func(train.Progress)) (train.Curve, []byte) {
	t.Helper()
	m := openTiny(t, dev)
	defer m.Release()
	var encoders []clip.Config
	for _, e := range m.Text {
		encoders = append(encoders, e.Config)
	}
	o := train.Advanced()
	o.Resolution, o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.LoRARank = 32, 3, 6, 4
	set := &dataset.Set{}
	for i := range 3 {
		p := dataset.Picture{Name: string(rune('a'+i)) + ".png", Image: imageops.New(32, 32), Original: dataset.Size{W: 32, H: 32}}
		for at := range p.Image.Pix {
			p.Image.Pix[at] = uint8(at*(3+i) + at/96*7)
		}
		set.Pictures = append(set.Pictures, p)
	}
	r, err := train.Run(context.Background(), train.Job{Model: m, Layers: lora.NewBase("test", m.UNetConfig(), encoders...),
		BaseID: "tiny", Name: "test", Options: o, Data: set, Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := lora.Write(&file, r.Set, lora.Cloneofsimo); err != nil {
		t.Fatal(err)
	}
	return r.Curve, file.Bytes()
}

// TestTrainingRun trains on the processor and on the GPU, in float32 and in
// bf16: the curves agree, and the same run gives the same bytes, also where steps
// are replayed from memory that is used again.
func TestTrainingRun(t *testing.T) {
	c, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want, _ := trainTiny(t, c, nil)
	for _, tt := range []struct {
		precision device.DType
		most      float64 // by which a step's loss may differ, relative
	}{{device.F32, 1e-5}, {device.BF16, 0.02}} {
		t.Run(tt.precision.String(), func(t *testing.T) {
			var first []byte
			for _, direct := range []bool{true, false} {
				dev, err := cuda.Open(cuda.Options{Precision: tt.precision, Direct: direct})
				if err != nil {
					t.Fatal(err)
				}
				calls := cuda.CountCalls(t)
				var steps []cuda.Calls
				got, file := trainTiny(t, dev, func(train.Progress) {
					c, ok := calls()
					if ok {
						steps = append(steps, c)
					}
				})
				t.Logf("launches of each step: %+v", steps)
				for i, c := range steps { // 3 of the inversion, 6 of the tuning
					if first := steps[3]; direct && c.Graphs != 0 || !direct && i >= 5 && !c.Replays(first) {
						t.Errorf("direct: %v, step %d makes %+v launches; the tuning's first %+v", direct, i, c, first)
					}
				}
				share, note := dev.Replays()
				dev.Close()
				if direct == (share > 0) || note != "" {
					t.Errorf("direct: %v, %.2f of all operations replayed, %q", direct, share, note)
				}
				t.Logf("%.2f of all operations replayed", share)
				worst := 0.0
				for i := range want {
					worst = max(worst, math.Abs(got[i].Loss-want[i].Loss)/want[i].Loss)
				}
				t.Logf("%d steps, largest difference of a step's loss %.2g", len(want), worst)
				if len(got) != len(want) || !(worst <= tt.most) {
					t.Errorf("%d steps, want %d; largest difference of a step's loss %.2g, want at most %.2g", len(got), len(want), worst, tt.most)
				}
				if first == nil {
					first = file
				} else if !bytes.Equal(first, file) {
					t.Error("two runs gave other bytes")
				}
			}
		})
	}
}
