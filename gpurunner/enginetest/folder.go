package enginetest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// Folder gives a diffusers folder as a model's files.
func Folder(t testing.TB, dir string) diffusion.Files { return folder{t, dir} }

type folder struct {
	t   testing.TB
	dir string
}

func (f folder) Config(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.dir, filepath.FromSlash(path)))
}

func (f folder) Has(part string) bool {
	_, err := os.Stat(filepath.Join(f.dir, part))
	return err == nil
}

func (f folder) Weights(part string) (nn.Tensors, error) {
	files, _ := filepath.Glob(filepath.Join(f.dir, part, "*.safetensors"))
	file, err := safetensors.Open(files[0])
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { file.Close() })
	return file, nil
}

func (f folder) Tokenizer(part string) (*tokenizer.Tokenizer, error) {
	return tokenizer.Load(os.DirFS(filepath.Join(f.dir, part)))
}
