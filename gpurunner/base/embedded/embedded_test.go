package embedded

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestFS(t *testing.T) {
	err := fstest.TestFS(FS(), "lowrank.json", "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
		"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json",
		"scheduler/scheduler_config.json")
	if err != nil {
		t.Fatal(err)
	}
}

// TestBytes: a weight file is given where it lies, twice the same memory.
func TestBytes(t *testing.T) {
	open := func() []byte {
		f, err := FS().Open("unet/diffusion_pytorch_model.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return f.(interface{ Bytes() []byte }).Bytes()
	}
	a, b := open(), open()
	if len(a) == 0 || &a[0] != &b[0] {
		t.Error("the file was copied")
	}
	info, err := fs.Stat(FS(), "unet/diffusion_pytorch_model.safetensors")
	if err != nil || info.Size() != int64(len(a)) {
		t.Errorf("size: got %v, %v, want %d", info, err, len(a))
	}
}
