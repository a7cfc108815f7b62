package main

import (
	"bufio"
	"embed"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// The configurations and the tensors' names and shapes of the published models,
// taken from their files' headers.
//
//go:embed models
var configs embed.FS

// sizes are the pictures' edges that the models were made for.
var sizes = map[string]int{"sd15": 512, "sd21": 768, "sdxl": 1024, embedded.Name: 64}

func (s settings) edge(model string) int {
	if s.size > 0 {
		return s.size
	}
	return sizes[model]
}

// openModel returns a base model's files: random, but for the embedded one.
func openModel(name string) (diffusion.Files, error) {
	if name == embedded.Name || name == "embedded" {
		return base.Open(embedded.Name, base.Options{})
	}
	dir, err := fs.Sub(configs, path.Join("models", name))
	if err == nil {
		_, err = fs.Stat(dir, "unet/config.json")
	}
	if err != nil {
		return nil, fmt.Errorf("there is no model %q; there are sd15, sd21, sdxl and embedded", name)
	}
	return &randomModel{dir}, nil
}

// randomModel is a model of random weights in f16. It implements
// diffusion.Files.
type randomModel struct{ dir fs.FS }

// Config implements diffusion.Files.
func (m *randomModel) Config(p string) ([]byte, error) { return fs.ReadFile(m.dir, p) }

// Has implements diffusion.Files.
func (m *randomModel) Has(part string) bool {
	_, err := fs.Stat(m.dir, part)
	return err == nil
}

// Tokenizer implements diffusion.Files.
func (m *randomModel) Tokenizer(string) (*tokenizer.Tokenizer, error) {
	return tokenizer.CLIP(), nil
}

// Weights implements diffusion.Files.
func (m *randomModel) Weights(part string) (nn.Tensors, error) {
	f, err := m.dir.Open(part + "/shapes.txt")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := weights{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, dims, found := strings.Cut(lines.Text(), " ")
		var shape []int
		for _, d := range strings.Split(dims, "x") {
			n, err := strconv.Atoi(d)
			if err != nil || !found {
				return nil, fmt.Errorf("%s/shapes.txt: %q", part, lines.Text())
			}
			shape = append(shape, n)
		}
		w[name] = shape
	}
	return w, nil
}

// weights are the shapes of random tensors.
type weights map[string][]int

// Lookup implements nn.Tensors.
func (w weights) Lookup(name string) (safetensors.Tensor, bool) {
	shape, ok := w[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	n, inputs := 1, 1
	for i, d := range shape {
		n *= d
		if i > 0 {
			inputs *= d
		}
	}
	scale := 0 // the power of two by which numbers are smaller than normal ones
	if len(shape) > 1 {
		scale = int(math.Round(math.Log2(float64(inputs)) / 2))
	} else {
		scale = 6 // biases
	}
	bytes := random(scale, n)
	if len(shape) == 1 && strings.HasSuffix(name, ".weight") { // of a norm
		bytes = make([]byte, 2*n)
		for i := range n {
			binary.LittleEndian.PutUint16(bytes[2*i:], half.ToF16(1))
		}
	}
	t, err := safetensors.View(safetensors.Info{Name: name, DType: safetensors.F16, Shape: shape}, bytes)
	return t, err == nil
}

const randomBlock = 1 << 20

var blocks sync.Map // by scale

// random is n normal numbers times 2^-scale; longer runs repeat themselves.
func random(scale, n int) []byte {
	made, ok := blocks.Load(scale)
	if !ok {
		b := make([]byte, 2*randomBlock)
		r := rand.New(rand.NewPCG(uint64(scale), 1))
		for i := range randomBlock {
			binary.LittleEndian.PutUint16(b[2*i:], half.ToF16(float32(math.Ldexp(r.NormFloat64(), -scale))))
		}
		made, _ = blocks.LoadOrStore(scale, b)
	}
	block := made.([]byte)
	if n <= randomBlock {
		return block[:2*n]
	}
	out := make([]byte, 0, 2*n)
	for len(out) < 2*n {
		out = append(out, block[:min(len(block), 2*n-len(out))]...)
	}
	return out
}
