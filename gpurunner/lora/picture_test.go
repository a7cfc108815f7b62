package lora_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// sharedPicture is a picture as AUTOMATIC1111 shares embeddings.
func sharedPicture(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 4, 4))); err != nil {
		t.Fatal(err)
	}
	const header = 8 + 4 + 4 + 13 + 4
	body := "tEXt" + "sd-ti-embedding\x00" + text
	chunk := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)-4)), body...)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE([]byte(body)))
	return slices.Concat(b.Bytes()[:header], chunk, b.Bytes()[header:])
}

func TestPicture(t *testing.T) {
	base := microBase(t)
	for _, tt := range []struct {
		name, json, err string
	}{
		{"TwoVectors", `{"string_to_token": {"*": 265}, "string_to_param": {"*": {"TORCHTENSOR": [[1, 2, 3, 4, 5, 6, 7, 8], [0.5, 0, 0, 0, 0, 0, 0, -1e-3]]}},
			"name": "other", "step": 100, "sd_checkpoint": null}`, ""},
		{"ErrUneven", `{"string_to_param": {"*": {"TORCHTENSOR": [[1, 2], [1]]}}}`, "vectors are not of one length"},
		{"ErrEmpty", `{"string_to_param": {"*": {"TORCHTENSOR": []}}}`, "has no vectors"},
		{"ErrNotJSON", `]`, "embedding is damaged"},
		{"ErrOtherBase", `{"string_to_param": {"*": {"TORCHTENSOR": [[1, 2, 3]]}}}`, "[n,8]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cat.png")
			if err := os.WriteFile(path, sharedPicture(t, base64.StdEncoding.EncodeToString([]byte(tt.json))), 0o600); err != nil {
				t.Fatal(err)
			}
			set, err := lora.Open(path, base)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// The word is the file's name, as with a .pt file.
			if len(set.Tokens) != 1 || set.Tokens[0].Name != "cat" || set.Format != lora.Embedding {
				t.Fatalf("%s, tokens %v", set.Format, set.Tokens)
			}
			if got := slices.Concat(set.Tokens[0].Rows[0]...); !slices.Equal(got, []float32{1, 2, 3, 4, 5, 6, 7, 8, 0.5, 0, 0, 0, 0, 0, 0, -1e-3}) {
				t.Errorf("vectors %v", got)
			}
		})
	}
}

// What diffusers and PEFT save is a folder; its name does for that of its file.
func TestFolder(t *testing.T) {
	base := microBase(t)
	dir := t.TempDir()
	if _, err := lora.Open(dir, base); err == nil || !strings.Contains(err.Error(), "give the file itself") {
		t.Errorf("an empty folder: %v", err)
	}
	set := randomSet(base, 2, base.Targets(lora.UNet, ""))
	if err := lora.WriteFile(filepath.Join(dir, "pytorch_lora_weights.safetensors"), set, lora.Diffusers); err != nil {
		t.Fatal(err)
	}
	got, err := lora.Open(dir, base)
	if err != nil || len(got.Adapters) != len(set.Adapters) {
		t.Errorf("got %v (%v)", got, err)
	}
	// PEFT's file comes before, with the scale from beside it.
	a := set.Adapters[0]
	names := naming(&lora.Set{Base: base, Adapters: set.Adapters[:1]}, func(m *lora.Module, f string) string {
		return "base_model.model." + m.Path + ".lora_" + peft[f] + ".weight"
	})
	if err := safetensors.WriteFile(filepath.Join(dir, "adapter_model.safetensors"), names, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(`{"lora_alpha": 6}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = lora.Open(dir, base); err != nil || len(got.Adapters) != 1 || got.Adapters[0].Module != a.Module || got.Adapters[0].Scale != 3 {
		t.Errorf("got %v (%v)", got, err)
	}
}
