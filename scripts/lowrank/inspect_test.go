package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// TestInspect: a file that cannot be used is described, and the command fails.
func TestInspect(t *testing.T) {
	dir := t.TempDir()
	unet, word := filepath.Join(dir, "unet.safetensors"), filepath.Join(dir, "word.safetensors")
	zeros := func(name string, n int) safetensors.Entry {
		return safetensors.FromFloat32s(name, safetensors.F32, []int{n}, make([]float32, n))
	}
	width := lora.Known()[0].Widths[0]
	for path, entries := range map[string][]safetensors.Entry{
		unet: {zeros("conv_in.weight", 4), zeros("down_blocks.0.resnets.0.conv1.weight", 4)},
		word: {zeros("<neon>", width)},
	} {
		if err := safetensors.WriteFile(path, entries, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, path, out, err string }{
		{"Word", word, "embedding", ""},
		{"ErrUNet", unet, "holds a UNet's weights", "unet.safetensors cannot be used"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			cmd := root()
			cmd.SetArgs([]string{"inspect", tt.path})
			cmd.SetOut(&out)
			err := cmd.ExecuteContext(t.Context())
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("got %s, want %q", out.String(), tt.out)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}
