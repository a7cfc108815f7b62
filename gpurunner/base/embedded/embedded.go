package embedded

import (
	"embed"
	"io/fs"
	"sync"
	"unsafe"
)

// Name is the model's name.
const Name = "emoji-64"

//go:embed model/lowrank.json model/model_index.json model/*/*.json model/*/*.txt
var small embed.FS

// The weights are embedded as strings: read-only memory that the operating system pages in when it is read.
var (
	//go:embed model/unet/diffusion_pytorch_model.safetensors
	unetWeights string
	//go:embed model/vae/diffusion_pytorch_model.safetensors
	vaeWeights string
	//go:embed model/text_encoder/model.safetensors
	textWeights string
)

// FS returns the model's diffusers folder. Its weight files have a method Bytes, by which package safetensors uses
// them where they lie.
func FS() fs.FS { return files() }

var files = sync.OnceValue(func() fs.FS {
	contents := map[string][]byte{
		"unet/diffusion_pytorch_model.safetensors": bytesOf(unetWeights),
		"vae/diffusion_pytorch_model.safetensors":  bytesOf(vaeWeights),
		"text_encoder/model.safetensors":           bytesOf(textWeights),
	}
	err := fs.WalkDir(small, "model", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		contents[path[len("model/"):]], err = small.ReadFile(path)
		return err
	})
	if err != nil {
		panic("embedded: " + err.Error()) // the files are part of the binary
	}
	return newFS(contents)
})

// bytesOf is a string's bytes without a copy. They lie in read-only memory.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
