package paritytest

import (
	"fmt"
	"os"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// file is a .safetensors file in memory: not mapped, so that the unpacked set can be removed on every system.
type file struct {
	path   string
	names  []string // sorted
	stored *safetensors.File
}

func readFile(path string) (*file, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	stored, err := safetensors.OpenBytes(path, data)
	if err != nil {
		return nil, err
	}
	return &file{path, stored.Names(), stored}, nil
}

func (f *file) has(name string) bool {
	_, ok := f.stored.Lookup(name)
	return ok
}

func (f *file) tensor(name string) (Tensor, error) {
	t, ok := f.stored.Lookup(name)
	if !ok {
		return Tensor{}, fmt.Errorf("%s holds no tensor %q", f.path, name)
	}
	x := Tensor{Name: name, DType: string(t.DType), Shape: t.Shape}
	var err error
	switch t.DType {
	case safetensors.I64:
		x.I64, err = t.Int64()
	case safetensors.U8, safetensors.Bool:
		x.U8 = append([]uint8{}, t.Bytes()...)
	default:
		x.F32, err = t.Float32()
	}
	return x, err
}

// before lists how the names that end in suffix begin, sorted.
func (f *file) before(suffix string) []string {
	var found []string
	for _, name := range f.names {
		if rest, ok := strings.CutSuffix(name, suffix); ok {
			found = append(found, rest)
		}
	}
	return found
}
