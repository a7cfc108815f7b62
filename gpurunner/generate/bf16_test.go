package generate_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// TestBF16: pictures of the embedded base with products of bf16 are within 25 dB
// of float32's with the same seed, and the same on one and two threads.
func TestBF16(t *testing.T) {
	enginetest.EachBF16(t, true, func(t *testing.T, name string) {
		draw := func(name string, threads int) []byte {
			m, err := diffusion.Open(tensor.NewPool(enginetest.BF16(t, name, threads)), enginetest.Base(t, embedded.Name))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Release()
			card := enginetest.Base(t, embedded.Name).Card
			r := generate.Request{Prompt: "a castle on a red background", Width: card.Drawing.Width, Height: card.Drawing.Height,
				Steps: card.Drawing.Steps, Guidance: card.Drawing.Guidance, Seed: 9, Num: 2}
			return bytes.Join(drawAll(t, m, r), nil)
		}
		one := draw(name, 1)
		if !bytes.Equal(draw(name, 2), one) {
			t.Error("two threads draw another picture than one")
		}
		sum := 0.0
		want := draw("", 0)
		for i, v := range want {
			sum += math.Pow(float64(v)-float64(one[i]), 2)
		}
		if db := 10 * math.Log10(255*255/(sum/float64(len(want)))); !(db >= 25) || math.IsInf(db, 1) {
			t.Errorf("%.1f dB from float32's, want 25 (and not the same)", db)
		} else {
			t.Logf("%.1f dB from float32's", db)
		}
	})
}
