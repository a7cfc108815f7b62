package lora_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// array is a tensor with random numbers for a straightforward restatement of
// LyCORIS' formulas.
type array struct {
	shape []int
	v     []float64
}

func (a array) at(index ...int) float64 {
	i := 0
	for d, x := range index {
		i = i*a.shape[d] + x
	}
	return a.v[i]
}

// Each algorithm's factors give the matrix that its definition gives.
func TestLyCORIS(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	linear, _ := base.Module(lora.UNet, "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj") // 8 → 64
	conv, _ := base.Module(lora.UNet, "down_blocks.2.resnets.0.conv1")                                   // 8 → 16, 3×3
	type tensors = map[string]array
	for _, tt := range []struct {
		name   string
		module *lora.Module
		shapes map[string][]int
		scale  float64
		delta  func(w tensors, o, i, x, y int) float64
	}{
		{"LoCon", conv, map[string][]int{"lora_up.weight": {16, 3, 1, 1}, "lora_down.weight": {3, 8, 3, 3}, "alpha": {}}, 1. / 3, func(w tensors, o, i, x, y int) (s float64) {
			for r := range 3 {
				s += w["lora_up.weight"].at(o, r, 0, 0) * w["lora_down.weight"].at(r, i, x, y)
			}
			return s
		}},
		{"LoConTucker", conv, map[string][]int{"lora_up.weight": {16, 3, 1, 1}, "lora_down.weight": {3, 8, 1, 1}, "lora_mid.weight": {3, 3, 3, 3}, "alpha": {}}, 1. / 3, func(w tensors, o, i, x, y int) (s float64) {
			for m := range 3 {
				for n := range 3 {
					s += w["lora_mid.weight"].at(m, n, x, y) * w["lora_up.weight"].at(o, m, 0, 0) * w["lora_down.weight"].at(n, i, 0, 0)
				}
			}
			return s
		}},
		{"LoHa", linear, map[string][]int{"hada_w1_a": {64, 2}, "hada_w1_b": {2, 8}, "hada_w2_a": {64, 2}, "hada_w2_b": {2, 8}, "alpha": {}}, 1. / 2, hadamard(2, 1)},
		{"LoHaDense", linear, map[string][]int{"hada_w1_a": {64, 3}, "hada_w1_b": {3, 8}, "hada_w2_a": {64, 3}, "hada_w2_b": {3, 8}, "alpha": {}}, 1. / 3, hadamard(3, 1)},
		{"LoHaConv", conv, map[string][]int{"hada_w1_a": {16, 2}, "hada_w1_b": {2, 72}, "hada_w2_a": {16, 2}, "hada_w2_b": {2, 72}}, 1, hadamard(2, 3)},
		{"LoHaTucker", conv, map[string][]int{"hada_t1": {2, 2, 3, 3}, "hada_w1_a": {2, 16}, "hada_w1_b": {2, 8}, "hada_t2": {2, 2, 3, 3}, "hada_w2_a": {2, 16}, "hada_w2_b": {2, 8}}, 1, func(w tensors, o, i, x, y int) float64 {
			product := 1.0
			for _, h := range []string{"1", "2"} {
				var s float64
				for a := range 2 {
					for b := range 2 {
						s += w["hada_t"+h].at(a, b, x, y) * w["hada_w"+h+"_b"].at(b, i) * w["hada_w"+h+"_a"].at(a, o)
					}
				}
				product *= s
			}
			return product
		}},
		{"LoKrFull", linear, map[string][]int{"lokr_w1": {4, 2}, "lokr_w2": {16, 4}, "alpha": {}}, 1, kronecker(16, 4, func(w tensors, o, i, _, _ int) float64 { return w["lokr_w2"].at(o, i) })},
		{"LoKrFullWide", linear, map[string][]int{"lokr_w1": {2, 4}, "lokr_w2": {32, 2}, "alpha": {}}, 1, kronecker(32, 2, func(w tensors, o, i, _, _ int) float64 { return w["lokr_w2"].at(o, i) })},
		{"LoKrConvFull", conv, map[string][]int{"lokr_w1": {4, 2}, "lokr_w2": {4, 4, 3, 3}}, 1, kronecker(4, 4, func(w tensors, o, i, x, y int) float64 { return w["lokr_w2"].at(o, i, x, y) })},
		{"LoKrFactored", linear, map[string][]int{"lokr_w1": {4, 2}, "lokr_w2_a": {16, 3}, "lokr_w2_b": {3, 4}, "alpha": {}}, 1. / 3, kronecker(16, 4, func(w tensors, o, i, _, _ int) (s float64) {
			for r := range 3 {
				s += w["lokr_w2_a"].at(o, r) * w["lokr_w2_b"].at(r, i)
			}
			return s
		})},
		{"LoKrBothFactored", linear, map[string][]int{"lokr_w1_a": {4, 1}, "lokr_w1_b": {1, 2}, "lokr_w2_a": {16, 3}, "lokr_w2_b": {3, 4}, "alpha": {}}, 1. / 3, func(w tensors, o, i, _, _ int) (s float64) {
			for r := range 3 {
				s += w["lokr_w2_a"].at(o%16, r) * w["lokr_w2_b"].at(r, i%4)
			}
			return w["lokr_w1_a"].at(o/16, 0) * w["lokr_w1_b"].at(0, i/4) * s
		}},
		{"LoKrTucker", conv, map[string][]int{"lokr_w1": {2, 4}, "lokr_w2_a": {2, 8}, "lokr_w2_b": {2, 2}, "lokr_t2": {2, 2, 3, 3}, "alpha": {}}, 1. / 2, kronecker(8, 2, func(w tensors, o, i, x, y int) (s float64) {
			for a := range 2 {
				for b := range 2 {
					s += w["lokr_t2"].at(a, b, x, y) * w["lokr_w2_a"].at(a, o) * w["lokr_w2_b"].at(b, i)
				}
			}
			return s
		})},
		{"Full", conv, map[string][]int{"diff": {16, 8, 3, 3}}, 1, func(w tensors, o, i, x, y int) float64 { return w["diff"].at(o, i, x, y) }},
		{"FullLinear", linear, map[string][]int{"diff": {64, 8}}, 1, func(w tensors, o, i, _, _ int) float64 { return w["diff"].at(o, i) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, 4))
			w := tensors{}
			var entries []safetensors.Entry
			for _, name := range sortedKeys(tt.shapes) {
				shape, n := tt.shapes[name], 1
				for _, d := range shape {
					n *= d
				}
				a := array{shape, make([]float64, n)}
				values := make([]float32, n)
				for i := range values {
					values[i] = rng.Float32() - 0.5
					if name == "alpha" {
						values[i] = 1
					}
					a.v[i] = float64(values[i])
				}
				w[name] = a
				key := "lora_unet_" + strings.ReplaceAll(tt.module.Path, ".", "_") + "." + name
				entries = append(entries, safetensors.FromFloat32s(key, safetensors.F32, shape, values))
			}
			set, err := lora.Open(write(t, entries, nil), base)
			if err != nil {
				t.Fatal(err)
			}
			got, k := set.Adapters[0].Delta(), max(1, tt.module.Kernel)
			at := 0
			for o := range tt.module.Out {
				for i := range tt.module.In {
					for x := range k {
						for y := range k {
							want := tt.scale * tt.delta(w, o, i, x, y)
							if math.Abs(float64(got[at])-want) > 1e-6 {
								t.Fatalf("[%d,%d,%d,%d]: got %v, want %v", o, i, x, y, got[at], want)
							}
							at++
						}
					}
				}
			}
		})
	}
}

func hadamard(r, kernel int) func(w map[string]array, o, i, x, y int) float64 {
	return func(w map[string]array, o, i, x, y int) float64 {
		column := i
		if kernel == 3 {
			column = i*9 + x*3 + y
		}
		product := 1.0
		for _, h := range []string{"hada_w1", "hada_w2"} {
			var s float64
			for j := range r {
				s += w[h+"_a"].at(o, j) * w[h+"_b"].at(j, column)
			}
			product *= s
		}
		return product
	}
}

func kronecker(c, d int, second func(w map[string]array, o, i, x, y int) float64) func(w map[string]array, o, i, x, y int) float64 {
	return func(w map[string]array, o, i, x, y int) float64 {
		return w["lokr_w1"].at(o/c, i/d) * second(w, o%c, i%d, x, y)
	}
}
