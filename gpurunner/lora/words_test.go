package lora_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Embeddings alone, in every layout that holds them.
func TestEmbeddingFiles(t *testing.T) {
	sd, xl := smallBase(t, "sd15-tiny"), smallBase(t, "sdxl-tiny")
	for _, tt := range []struct {
		name    string
		base    *lora.Base
		keys    map[string][]int
		token   string
		vectors int
	}{
		{"Kohya", sd, map[string][]int{"emb_params": {3, sd.Widths[0]}}, "my-style", 3},
		{"KohyaXL", xl, map[string][]int{"clip_l": {2, xl.Widths[0]}, "clip_g": {2, xl.Widths[1]}}, "my-style", 2},
		{"Diffusers", sd, map[string][]int{"<cat-toy>": {sd.Widths[0]}}, "<cat-toy>", 1},
		{"DiffusersRows", sd, map[string][]int{"toy": {4, sd.Widths[0]}}, "toy", 4},
		{"A1111", sd, map[string][]int{"string_to_param.*": {2, sd.Widths[0]}}, "my-style", 2},
		{"Bundled", sd, map[string][]int{"bundle_emb.neon.string_to_param.*": {2, sd.Widths[0]}}, "neon", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var entries []safetensors.Entry
			for key, shape := range tt.keys {
				entries = append(entries, tensor32(key, shape...))
			}
			path := filepath.Join(t.TempDir(), "my-style.safetensors")
			if err := safetensors.WriteFile(path, entries, nil); err != nil {
				t.Fatal(err)
			}
			set, err := lora.Open(path, tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if len(set.Tokens) != 1 || set.Tokens[0].Name != tt.token || len(set.Tokens[0].Rows) != len(tt.base.Widths) || len(set.Unused) > 0 {
				t.Fatalf("got tokens %v, unused %v", set.Tokens, set.Unused)
			}
			if n := len(set.Tokens[0].Rows[0]); n != tt.vectors {
				t.Errorf("got %d vectors, want %d", n, tt.vectors)
			}
		})
	}
}

// PEFT keeps the scale in a file of its own.
func TestPEFTFolder(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	set := randomSet(base, 4, base.Targets(lora.UNet, "")[:1])
	dir := t.TempDir()
	entries := naming(&lora.Set{Base: base, Adapters: set.Adapters}, func(m *lora.Module, f string) string {
		return "base_model.model." + m.Path + ".lora_" + peft[f] + ".weight"
	})
	path := filepath.Join(dir, "adapter_model.safetensors")
	if err := safetensors.WriteFile(path, entries, nil); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "adapter_config.json")
	for _, tt := range []struct {
		config string
		want   float32
		bad    bool
	}{{`{"r": 4, "lora_alpha": 16}`, 4, false}, {`{"lora_alpha": 16, "use_rslora": true}`, 8, false}, {`{`, 0, true}} {
		if err := os.WriteFile(config, []byte(tt.config), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := lora.Open(path, base)
		switch {
		case tt.bad:
			if err == nil {
				t.Errorf("%s: no error", tt.config)
			}
		case err != nil:
			t.Fatal(err)
		case got.Adapters[0].Scale != tt.want:
			t.Errorf("%s: got scale %v, want %v", tt.config, got.Adapters[0].Scale, tt.want)
		}
	}
}
