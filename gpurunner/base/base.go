package base

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// cardFile is a folder's card.
const cardFile = "lowrank.json"

// Base is an open base model. Its methods may be called from several goroutines.
type Base struct {
	Card Card

	store  store
	traits *traits

	mu         sync.Mutex
	files      []*safetensors.File // all that are open
	weights    map[string]*Weights
	tokenizers map[string]*tokenizer.Tokenizer
	closed     bool
}

// Options say where models are looked for.
type Options struct {
	// Folders hold models by name: NAME/ or NAME.safetensors inside one of them.
	Folders []string
	// Configs is a diffusers folder whose configurations and tokenizer belong to a single file of other than the
	// usual shape. It takes precedence over the card's.
	Configs fs.FS
}

// Open opens the model that ref names: the embedded one by its name, a model by its name in one of the folders, a diffusers
// folder, or a single .safetensors file. It reads configurations and cards, and of weights no more than a header.
func Open(ref string, o Options) (*Base, error) {
	if ref == embedded.Name {
		return OpenFS(embedded.Name, embedded.FS())
	}
	if !strings.ContainsAny(ref, `/\`) {
		for _, dir := range o.Folders {
			for _, name := range []string{ref, ref + ".safetensors"} {
				if p := filepath.Join(dir, name); exists(p) && ref != "" && ref != "." && ref != ".." {
					return openPath(ref, p, o)
				}
			}
		}
	}
	if ref == "" || !exists(ref) {
		return nil, unknown(fmt.Sprintf("there is no base model %q: it is neither a path nor one of %s", ref, strings.Join(Names(o), ", ")))
	}
	return openPath(nameOf(ref), ref, o)
}

// unknown is the error about a model that is not there: fs.ErrNotExist, in
// other words.
type unknown string

func (u unknown) Error() string        { return string(u) }
func (u unknown) Is(target error) bool { return target == fs.ErrNotExist }

// Names lists the models that Open finds by name, the embedded one first.
func Names(o Options) []string {
	names := []string{embedded.Name}
	for _, dir := range o.Folders {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name := e.Name()
			single := strings.HasSuffix(name, ".safetensors") && !e.IsDir()
			if single || exists(filepath.Join(dir, name, "unet", "config.json")) {
				name = strings.TrimSuffix(name, ".safetensors")
				if !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	return names
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

func nameOf(p string) string {
	if abs, err := filepath.Abs(p); err == nil {
		p = abs
	}
	return strings.TrimSuffix(filepath.Base(p), ".safetensors")
}

func openPath(name, p string, o Options) (*Base, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, fmt.Errorf("base model %s: %w", name, err)
	}
	switch {
	case info.IsDir():
		return openFolder(name, &folder{name: p, fsys: os.DirFS(p)})
	case strings.EqualFold(filepath.Ext(p), ".safetensors"):
		return openSingle(name, p, o.Configs)
	case isPickle(p):
		return nil, fmt.Errorf("%s is a pickle, and only safetensors is read, since a pickle can run code: load it with diffusers' "+
			"from_single_file and store it with save_pretrained(…, safe_serialization=True)", p)
	}
	return nil, fmt.Errorf("%s is neither a diffusers folder nor a .safetensors file", p)
}

// OpenFS opens a diffusers folder that is the root of fsys. Its weights are mapped where fsys has real files, see
// [safetensors.OpenFS].
func OpenFS(name string, fsys fs.FS) (*Base, error) {
	return openFolder(name, &folder{name: name, fsys: fsys})
}

func openFolder(name string, f *folder) (*Base, error) {
	card, err := fs.ReadFile(f.fsys, cardFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", f.name, err)
	}
	b, err := newBase(name, f, card, f.name+"/"+cardFile)
	if err != nil {
		return nil, err
	}
	for _, part := range b.Parts() { // said now, rather than when a job has begun
		if _, err := f.weightFiles(part); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// newBase finds out what the stored model is and applies its card, the JSON text of cardName, which may be nil.
func newBase(name string, s store, card []byte, cardName string) (*Base, error) {
	t, err := readTraits(s.config, s.has("text_encoder_2"))
	if err != nil {
		return nil, err
	}
	kind, err := t.kind()
	if err != nil {
		return nil, fmt.Errorf("base model %s: %w", name, err)
	}
	b := &Base{Card: defaultCard(name, kind, t), store: s, traits: t,
		weights: map[string]*Weights{}, tokenizers: map[string]*tokenizer.Tokenizer{}}
	if card == nil {
		return b, nil
	}
	if err := b.Card.apply(card); err != nil {
		return nil, fmt.Errorf("%s: %w", cardName, err)
	}
	b.Card.Name = name // by which it is opened; a card cannot change that
	if b.Card.Prediction != t.prediction {
		return nil, fmt.Errorf("%s: prediction_type is %q, but the model's %s says %q", cardName, b.Card.Prediction, schedulerConfig, t.prediction)
	}
	if b.Card.Kind.Inpaints() != kind.Inpaints() || (b.Card.Kind == SDXL) != (kind == SDXL) {
		return nil, fmt.Errorf("%s: kind is %q, but by its configuration the model is %q", cardName, b.Card.Kind, kind)
	}
	return b, nil
}

// Parts lists the parts that have weights.
func (b *Base) Parts() []string {
	parts := []string{"unet", "vae", "text_encoder"}
	if b.traits.second {
		parts = append(parts, "text_encoder_2")
	}
	return parts
}

// Has reports whether the model has a part: "text_encoder_2".
func (b *Base) Has(part string) bool { return b.store.has(part) }

// Config returns the JSON of a part's configuration: "unet/config.json", "scheduler/scheduler_config.json".
func (b *Base) Config(path string) ([]byte, error) { return b.store.config(path) }

// Tokenizer returns a clone of "tokenizer" or "tokenizer_2", to which tokens may be added.
func (b *Base) Tokenizer(part string) (*tokenizer.Tokenizer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.tokenizers[part]; ok {
		return t.Clone(), nil
	}
	t, err := b.store.tokenizer(part)
	if err != nil {
		return nil, err
	}
	b.tokenizers[part] = t
	return t.Clone(), nil
}

// Weights opens the weights of a part, one of Parts, once; the result is a *Weights.
func (b *Base) Weights(part string) (nn.Tensors, error) {
	w, err := b.Part(part)
	if err != nil {
		return nil, err // and not a nil *Weights in an interface
	}
	return w, nil
}

// Part is Weights with its own type.
func (b *Base) Part(part string) (*Weights, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("base model %s has been closed", b.Card.Name)
	}
	if w, ok := b.weights[part]; ok {
		return w, nil
	}
	names, err := b.store.weightFiles(part)
	if err != nil {
		return nil, err
	}
	var files []*safetensors.File
	for _, name := range names {
		f, err := b.store.open(name)
		if err != nil {
			return nil, errors.Join(err, closeAll(files))
		}
		files = append(files, f)
	}
	w, err := newWeights(part, files, b.store.rename(part))
	if err != nil {
		return nil, errors.Join(err, closeAll(files))
	}
	b.weights[part] = w
	b.files = append(b.files, files...)
	return w, nil
}

// Close gives all mappings back. Tensors of the model must not be used afterwards.
func (b *Base) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	files := b.files
	b.files = nil
	return closeAll(files)
}
