package lora_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
)

const torchData = "../torchfile/testdata"

// torchNumbers are the elements of tensor k of a file there.
func torchNumbers(k, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32((7*k+i)%23-11) / 16
	}
	return out
}

// TestTorch reads the files of the time before safetensors, as torch.save wrote
// them.
func TestTorch(t *testing.T) {
	base := microBase(t)
	for _, tt := range []struct {
		file     string
		format   lora.Format
		unet, te int
		tokens   string
	}{
		{"x.pt", lora.Cloneofsimo, 36, 4, "<s1>:1 <s2>:1"}, // with those beside it
		{"x.text_encoder.pt", lora.Cloneofsimo, 0, 4, ""},
		{"x.ti.pt", lora.Embedding, 0, 0, "<s1>:1 <s2>:1"},
		{"pytorch_lora_weights.bin", lora.Diffusers, 32, 0, ""},
		{"learned_embeds.bin", lora.Embedding, 0, 0, "<cat>:1"},
		{"cat.pt", lora.Embedding, 0, 0, "cat:2"},
		{"cat-parameters.pt", lora.Embedding, 0, 0, "cat-parameters:2"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			set, err := lora.Open(filepath.Join(torchData, tt.file), base)
			if err != nil {
				t.Fatal(err)
			}
			n := map[lora.Part]int{}
			for _, a := range set.Adapters {
				n[a.Module.Part]++
			}
			var tokens []string
			for _, tok := range set.Tokens {
				tokens = append(tokens, fmt.Sprintf("%s:%d", tok.Name, len(tok.Rows[0])))
			}
			if set.Format != tt.format || n[lora.UNet] != tt.unet || n[lora.TextEncoder] != tt.te || strings.Join(tokens, " ") != tt.tokens || len(set.Unused) > 0 {
				t.Errorf("%s (%s), %v adapters, tokens %q, unused %q", set.Format, set.Era, n, tokens, set.Unused)
			}
			report, err := lora.Inspect(filepath.Join(torchData, tt.file), base)
			if err != nil || report.Problem != "" {
				t.Errorf("inspect: %v, %+v", err, report)
			}
		})
	}
	set, err := lora.Open(filepath.Join(torchData, "x.pt"), base)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range base.Targets(lora.UNet, lora.DefaultTargets) {
		at := slices.IndexFunc(set.Adapters, func(a lora.Adapter) bool { return a.Module.Part == lora.UNet && a.Module.Path == m.Path })
		a := set.Adapters[at]
		if !slices.Equal(a.Up, torchNumbers(2*i, m.Out)) || !slices.Equal(a.Down, torchNumbers(2*i+1, m.In)) {
			t.Errorf("%s: up %v, down %v", m.Path, a.Up, a.Down)
		}
	}
	if got := set.Tokens[1].Rows[0][0]; !slices.Equal(got, torchNumbers(1, 8)) {
		t.Errorf("<s2> is %v", got)
	}
	set, err = lora.Open(filepath.Join(torchData, "cat.pt"), base)
	if err != nil || !slices.Equal(slices.Concat(set.Tokens[0].Rows[0]...), torchNumbers(0, 16)) {
		t.Errorf("cat is %v (%v)", set, err)
	}
	// Nothing in it that is known; a companion that is broken.
	if _, err := lora.Open(filepath.Join(torchData, "views.pt"), base); err == nil {
		t.Error("tensors of no adapter were taken")
	}
	dir := t.TempDir()
	whole, err := os.ReadFile(filepath.Join(torchData, "x.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"x.pt": whole, "x.ti.pt": whole[:1000]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lora.Open(filepath.Join(dir, "x.pt"), base); err == nil || !strings.Contains(err.Error(), "x.ti.pt") {
		t.Errorf("got %v, want the name of the broken file", err)
	}
}
