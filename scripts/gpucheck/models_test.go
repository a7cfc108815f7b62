package main

import (
	"os"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// shapes is a device that keeps no weights.
type shapes struct{ device.Device }

type noWeight []int

func (w noWeight) Shape() []int { return w }
func (w noWeight) Size() int    { return 0 }

func (shapes) Freeze(w device.HostWeight) (device.Weight, error) { return noWeight(w.Shape), nil }
func (shapes) Thaw(device.Weight)                                {}

// onProcessor is a device, closed at the test's end, and a model's files.
func onProcessor(t *testing.T, name string) (*cpu.Device, diffusion.Files) {
	t.Helper()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	files, err := openModel(name)
	if err != nil {
		t.Fatal(err)
	}
	return dev, files
}

// Every tensor that the networks ask for is in the lists, in its shape.
func TestModelsFit(t *testing.T) {
	for _, name := range []string{"sd15", "sd21", "sdxl"} {
		t.Run(name, func(t *testing.T) {
			if name != "sd15" && !strings.Contains(os.Getenv("LOWRANK_REQUIRE"), "cuda") {
				t.Skip("takes seconds: LOWRANK_REQUIRE=cuda")
			}
			dev, files := onProcessor(t, name)
			m, err := diffusion.Open(tensor.NewPool(shapes{dev}), files)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Release()
			for i := range m.Text {
				if _, err := m.TextNetwork(i); err != nil {
					t.Error(err)
				}
			}
			if _, err := m.UNet(); err != nil {
				t.Error(err)
			}
			if _, err := m.Encoder(); err != nil {
				t.Error(err)
			}
			if _, err := m.Decoder(); err != nil {
				t.Error(err)
			}
			for _, text := range m.Text { // else no tokens can be added, and nothing trained
				if words, rows := text.Tokenizer.Len(), text.Config.VocabSize; words != rows {
					t.Errorf("%s has %d rows for %d words", text.Part, rows, words)
				}
			}
		})
	}
	if _, err := openModel("sd3"); err == nil {
		t.Error("sd3: no error")
	}
}

// All that is timed runs with each model, here on the processor and small.
func TestWork(t *testing.T) {
	for _, name := range []string{"sd15", "sd21", "sdxl"} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(os.Getenv("LOWRANK_REQUIRE"), "cuda") {
				t.Skip("takes gigabytes and minutes: LOWRANK_REQUIRE=cuda")
			}
			dev, files := onProcessor(t, name)
			b := &bench{ctx: t.Context(), w: t.Output(), report: &report{}, name: name, size: 64, files: files, precision: "f32", counter: &counter{Device: dev},
				settings: settings{runs: 1, steps: 1}}
			for _, part := range []func(*bench) error{(*bench).draw, tuning(1)} {
				if err := b.with(part); err != nil {
					t.Errorf("%s: %v", b.work, err)
				}
			}
			if rows := b.report.Rows; len(rows) != 2 || rows[1].Step <= 0 || rows[1].TFLOP <= 0 {
				t.Errorf("rows %+v", rows)
			}
		})
	}
}

func TestCounter(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	c := &counter{Device: dev}
	array := func(n int) device.Array {
		b, err := c.Alloc(4 * n)
		if err != nil {
			t.Fatal(err)
		}
		a := device.Array{Buf: b, Len: n, Type: device.F32}
		c.Fill(a, 1)
		return a
	}
	c.MatMul(array(6).Matrix(2, 3), array(8).Matrix(4, 2), array(12).Matrix(4, 3), true, false, 1, device.Epilogue{})
	if c.flops != 2*2*3*4 {
		t.Errorf("a product of 2×4 and 4×3 counts %v", c.flops)
	}
}
