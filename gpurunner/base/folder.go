package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// store is how a model's parts are kept.
type store interface {
	config(path string) ([]byte, error)
	has(part string) bool
	tokenizer(part string) (*tokenizer.Tokenizer, error)
	// weightFiles lists the files of a part.
	weightFiles(part string) ([]string, error)
	open(file string) (*safetensors.File, error)
	rename(part string) rename
	file(name string) (fs.File, error) // for hashing
}

// folder is a diffusers folder.
type folder struct {
	name string // what errors call it
	fsys fs.FS
}

var _ store = (*folder)(nil)

func (f *folder) config(p string) ([]byte, error) {
	text, err := fs.ReadFile(f.fsys, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %s is missing; a diffusers folder has unet, vae, text_encoder, tokenizer and scheduler, and this one has %s: %w",
			f.name, p, f.listing(), fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return text, nil
}

// listing names a folder's contents for an error.
func (f *folder) listing() string {
	entries, err := fs.ReadDir(f.fsys, ".")
	if err != nil || len(entries) == 0 {
		return "nothing that can be read"
	}
	var names []string
	for _, e := range entries {
		if len(names) == 12 {
			names = append(names, "…")
			break
		}
		names = append(names, e.Name())
	}
	return strings.Join(names, ", ")
}

func (f *folder) has(part string) bool {
	info, err := fs.Stat(f.fsys, part)
	return err == nil && info.IsDir()
}

func (f *folder) tokenizer(part string) (*tokenizer.Tokenizer, error) {
	sub, err := fs.Sub(f.fsys, part)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Load(sub)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.name, part, err)
	}
	return t, nil
}

// weightFiles finds a part's files: the whole ones first, then those in half precision, each in one file or in parts
// with an index.
func (f *folder) weightFiles(part string) ([]string, error) {
	stem := "diffusion_pytorch_model"
	if strings.HasPrefix(part, "text_encoder") {
		stem = "model"
	}
	var tried []string
	for _, variant := range []string{"", ".fp16"} {
		one := part + "/" + stem + variant + ".safetensors"
		if info, err := fs.Stat(f.fsys, one); err == nil && !info.IsDir() {
			return []string{one}, nil
		}
		index := part + "/" + stem + ".safetensors.index" + variant + ".json"
		if text, err := fs.ReadFile(f.fsys, index); err == nil {
			return shards(part, index, text)
		}
		tried = append(tried, path.Base(one))
	}
	if pickle := f.pickle(part); pickle != "" {
		return nil, fmt.Errorf("%s: %s/%s is a pickle, and only safetensors is read, since a pickle can run code: convert the folder with diffusers' "+
			"save_pretrained(…, safe_serialization=True)", f.name, part, pickle)
	}
	return nil, fmt.Errorf("%s: %s has no weights (%s): %w", f.name, part, strings.Join(tried, " or "), fs.ErrNotExist)
}

func (f *folder) pickle(part string) string {
	entries, _ := fs.ReadDir(f.fsys, part)
	for _, e := range entries {
		if isPickle(e.Name()) {
			return e.Name()
		}
	}
	return ""
}

func isPickle(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".bin", ".ckpt", ".pt", ".pth", ".pkl":
		return true
	}
	return false
}

// shards reads the index of weights that are cut into several files.
func shards(part, name string, text []byte) ([]string, error) {
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	files := map[string]bool{}
	for weight, file := range index.WeightMap {
		if !fs.ValidPath(file) || strings.ContainsAny(file, `/\`) || path.Ext(file) != ".safetensors" {
			return nil, fmt.Errorf("%s: weight %q lies in %q, which is no .safetensors file of this folder", name, weight, file)
		}
		files[part+"/"+file] = true
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: weight_map is empty or missing", name)
	}
	return slices.Sorted(maps.Keys(files)), nil
}

func (f *folder) open(file string) (*safetensors.File, error) {
	out, err := safetensors.OpenFS(f.fsys, file)
	var at *fs.PathError // of a file system that does not know where it lies
	if errors.As(err, &at) {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	return out, err
}

func (f *folder) rename(part string) rename { return renameFor(part) }

func (f *folder) file(name string) (fs.File, error) { return f.fsys.Open(name) }
