package base

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Weights are the tensors of one part of a model under today's diffusers names and shapes, whatever layout they are
// stored in. It remembers what was looked up.
type Weights struct {
	part    string
	path    string
	tensors map[string]safetensors.Tensor
	names   []string // sorted

	mu   sync.Mutex
	used map[string]bool
}

// rename gives a stored tensor its canonical name and shape, or an empty name for one that belongs to no part that is
// loaded, such as a stored table of positions.
type rename func(t safetensors.Tensor) (safetensors.Tensor, error)

func newWeights(part string, files []*safetensors.File, to rename) (*Weights, error) {
	w := &Weights{part: part, path: pathOf(part, files), tensors: map[string]safetensors.Tensor{}, used: map[string]bool{}}
	stored := map[string]string{}
	for _, f := range files {
		for _, name := range f.Names() {
			t, _ := f.Lookup(name)
			t, err := to(t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name(), err)
			}
			if t.Name == "" {
				continue
			}
			if first, twice := stored[t.Name]; twice {
				return nil, fmt.Errorf("%s: %q and %q are the same weight %q", f.Name(), first, name, t.Name)
			}
			switch t.DType {
			case safetensors.F32, safetensors.F16, safetensors.BF16, safetensors.F64:
			default:
				return nil, fmt.Errorf("%s: tensor %q is stored as %s; weights must be F32, F16 or BF16", f.Name(), name, t.DType)
			}
			stored[t.Name] = name
			w.tensors[t.Name] = t
			w.names = append(w.names, t.Name)
		}
	}
	if len(w.names) == 0 {
		return nil, fmt.Errorf("%s: no weights are stored", part)
	}
	slices.Sort(w.names)
	return w, nil
}

// pathOf is the file of a part's weights, or the folder where they are several.
func pathOf(part string, files []*safetensors.File) string {
	switch len(files) {
	case 0:
		return part
	case 1:
		return files[0].Name()
	}
	return filepath.Dir(files[0].Name())
}

// Path is where the weights are stored, for errors.
func (w *Weights) Path() string { return w.path }

// Lookup finds a weight by its diffusers name.
func (w *Weights) Lookup(name string) (safetensors.Tensor, bool) {
	t, ok := w.tensors[name]
	if ok {
		w.mu.Lock()
		w.used[name] = true
		w.mu.Unlock()
	}
	return t, ok
}

// Names lists all weights, sorted.
func (w *Weights) Names() []string { return slices.Clone(w.names) }

// Unused lists the weights that nobody has looked up: after a part is loaded whole, what the configuration does not
// account for.
func (w *Weights) Unused() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, name := range w.names {
		if !w.used[name] {
			out = append(out, name)
		}
	}
	return out
}

// renameFor is how a folder's part is stored today or was in earlier years.
func renameFor(part string) rename {
	switch part {
	case "text_encoder", "text_encoder_2":
		return renameText
	case "vae":
		return renameVAE
	}
	return func(t safetensors.Tensor) (safetensors.Tensor, error) { return t, nil }
}

func renameText(t safetensors.Tensor) (safetensors.Tensor, error) {
	return t.Renamed(textName(t.Name)), nil
}

// textName puts the hub's prefix back that newer transformers leave out, and drops what is computed: its name is
// empty.
func textName(name string) string {
	switch {
	case strings.HasSuffix(name, "embeddings.position_ids"), name == "logit_scale":
		return ""
	case strings.HasPrefix(name, "text_model."), strings.HasPrefix(name, "text_projection."):
		return name
	}
	return "text_model." + name
}

// vaeAttention is the names of the autoencoder's attention before diffusers 0.15 and in CompVis checkpoints.
var vaeAttention = map[string]string{
	"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0",
	"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm",
}

// renameVAE maps the old names of attention, and reads its 1×1 convolutions as the matrices they are.
func renameVAE(t safetensors.Tensor) (safetensors.Tensor, error) {
	const at = ".attentions.0."
	i := strings.Index(t.Name, at)
	if i < 0 {
		return t, nil
	}
	head := t.Name[:i+len(at)]
	module, leaf, ok := strings.Cut(t.Name[i+len(at):], ".")
	if !ok {
		return t, nil
	}
	if to, old := vaeAttention[module]; old {
		t = t.Renamed(head + to + "." + leaf)
	}
	return matrix(t)
}

// matrix reads a 1×1 convolution as a matrix.
func matrix(t safetensors.Tensor) (safetensors.Tensor, error) {
	if s := t.Shape; len(s) == 4 {
		if s[2] != 1 || s[3] != 1 {
			return t, fmt.Errorf("tensor %q has shape %v; attention takes matrices or 1×1 convolutions", t.Name, s)
		}
		return t.Reshaped(t.Name, s[0], s[1])
	}
	return t, nil
}

// closeAll closes files; of several errors it returns all.
func closeAll(files []*safetensors.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
