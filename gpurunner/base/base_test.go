package base_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
	"github.com/lowrank/lowrank/gpurunner/train"
)

var _ diffusion.Files = (*base.Base)(nil)

func open(t *testing.T, ref string, o base.Options) *base.Base {
	t.Helper()
	b, err := base.Open(ref, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// loadAll loads every network and holds the stored weights to what was used.
func loadAll(t *testing.T, b *base.Base) {
	t.Helper()
	pool := enginetest.Pool(t)
	m, err := diffusion.Open(pool, b)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	_, err1 := m.UNet()
	_, err2 := m.Encoder()
	_, err3 := m.Decoder()
	errs := []error{err1, err2, err3}
	for i := range m.Text {
		_, err := m.TextNetwork(i)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, part := range b.Parts() {
		w, err := b.Part(part)
		if err != nil {
			t.Fatal(err)
		}
		if unused := w.Unused(); len(unused) > 0 {
			t.Errorf("%s: %d weights are not used: %v", part, len(unused), unused)
		}
	}
	if m.Inpaints() != b.Card.Kind.Inpaints() || m.IsXL() != (b.Card.Kind == base.SDXL) {
		t.Errorf("the card says %q, the loaded model is another", b.Card.Kind)
	}
}

func TestEmbedded(t *testing.T) {
	b := open(t, embedded.Name, base.Options{})
	c := b.Card
	if c.Name != embedded.Name || c.Kind != base.SD1 || c.NativeSize != 64 || c.Drawing.Width != 64 || c.Training.Resolution != 64 {
		t.Errorf("card: got %+v", c)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	hashes, err := b.Hashes(t.Context())
	if err != nil || len(hashes) != len(c.Weights) {
		t.Errorf("hashes: got %v, %v", hashes, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	one, err := b.Fingerprint()
	if err != nil || len(one) != 64 {
		t.Errorf("fingerprint: got %q, %v", one, err)
	}
	tok, err := b.Tokenizer("tokenizer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.AddToken("<s1>"); err != nil {
		t.Fatal(err)
	}
	if again, _ := b.Tokenizer("tokenizer"); again.Len() != tok.Len()-1 {
		t.Error("a token that one caller added is there for the next")
	}
	loadAll(t, b)
}

// TestPresets: every preset of the embedded card is options that the trainer knows and accepts.
func TestPresets(t *testing.T) {
	b := open(t, embedded.Name, base.Options{})
	for _, task := range base.Tasks() {
		t.Run(task, func(t *testing.T) {
			o, err := train.Preset(task)
			if err != nil {
				t.Fatal(err)
			}
			o.Resolution = b.Card.Training.Resolution
			p := b.Card.Training.Presets[task]
			if len(p) == 0 {
				t.Fatal("the card has no preset")
			}
			for _, name := range p.Names() {
				if err := o.Set(name, p[name]); err != nil {
					t.Error(err)
				}
			}
			if o.LoRARank != 16 || o.TrainTextEncoder || o.MaxTrainStepsTI != 0 || o.MaxTrainStepsTuning != 300 || o.TimestepLimit != 1 {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// kindOf is the kind that a fixture's name says.
func kindOf(name string) base.Kind {
	inpaint := strings.Contains(name, "inpaint")
	switch {
	case strings.HasPrefix(name, "sdxl"):
		return base.SDXL
	case strings.HasPrefix(name, "sd2") && inpaint:
		return base.SD2Inpaint
	case strings.HasPrefix(name, "sd2"):
		return base.SD2
	case inpaint:
		return base.SD1Inpaint
	}
	return base.SD1
}

func TestFolders(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		for _, name := range root.Models(t) {
			t.Run(root.Name+"/"+name, func(t *testing.T) {
				b := open(t, name, base.Options{Folders: []string{root.Path("models")}})
				if b.Card.Name != name || b.Card.Kind != kindOf(name) {
					t.Errorf("got %q of kind %q, want kind %q", b.Card.Name, b.Card.Kind, kindOf(name))
				}
				if _, err := b.Fingerprint(); err != nil {
					t.Error(err)
				}
				if err := b.Verify(t.Context()); err == nil {
					t.Error("verified without a card")
				}
				loadAll(t, b)
			})
		}
	}
}

// TestSingleFile: each single file gives the weights of the folder that it was made of, bit for bit.
func TestSingleFile(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		files, err := filepath.Glob(root.Path("models/*-single/*.safetensors"))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no single file (%v)", root.Name, err)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
			t.Run(root.Name+"/"+name, func(t *testing.T) {
				if _, err := base.Open(file, base.Options{}); err == nil || !strings.Contains(err.Error(), "number of heads") {
					t.Errorf("without configurations: got %v", err)
				}
				want := open(t, root.Path("models/"+name), base.Options{})
				exact := false
				if root.Has("models/" + name + "-fp16") {
					want, exact = open(t, root.Path("models/"+name+"-fp16"), base.Options{}), true
				}
				got := open(t, file, base.Options{Configs: os.DirFS(root.Path("models/" + name))})
				if got.Card.Kind != want.Card.Kind || got.Card.Name != name {
					t.Errorf("got %q of kind %q", got.Card.Name, got.Card.Kind)
				}
				for _, part := range want.Parts() {
					sameWeights(t, part, got, want, exact)
				}
				loadAll(t, got)
				if files, err := got.WeightFiles(); err != nil || !slices.Equal(files, []string{filepath.Base(file)}) {
					t.Errorf("files: got %v, %v", files, err)
				}
				if _, err := got.Tokenizer("tokenizer_2"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("tokenizer_2: got %v", err)
				}
			})
		}
	}
}

// sameWeights compares a part's names, shapes and bytes. Unless exact, want is in float32 and is rounded to half.
func sameWeights(t *testing.T, part string, got, want *base.Base, exact bool) {
	t.Helper()
	g, err := got.Part(part)
	if err != nil {
		t.Fatal(err)
	}
	w, err := want.Part(part)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(g.Names(), w.Names()) {
		t.Fatalf("%s: the names differ:\n got %v\nwant %v", part, g.Names(), w.Names())
	}
	for _, name := range w.Names() {
		a, _ := g.Lookup(name)
		b, _ := w.Lookup(name)
		bytesWanted := b.Bytes()
		if !exact && b.DType == safetensors.F32 {
			values, err := b.Float32()
			if err != nil {
				t.Fatal(err)
			}
			bytesWanted = half.AppendF16(nil, values)
		}
		if !slices.Equal(a.Shape, b.Shape) || !bytes.Equal(a.Bytes(), bytesWanted) {
			t.Errorf("%s: %s differs (shapes %v, %v)", part, name, a.Shape, b.Shape)
		}
	}
}

// TestLegacyNames: a folder whose autoencoder has the attention's old names gives the same weights.
func TestLegacyNames(t *testing.T) {
	found := false
	for _, root := range paritytest.Roots(t) {
		dirs, _ := filepath.Glob(root.Path("models/*-legacy-names"))
		for _, dir := range dirs {
			found = true
			model := strings.TrimSuffix(dir, "-legacy-names")
			want := open(t, model, base.Options{})
			// The fixture has the autoencoder only: the other parts come from the model beside it.
			whole := t.TempDir()
			if err := os.CopyFS(whole, os.DirFS(model)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(whole, "vae")); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(whole, "vae"), os.DirFS(filepath.Join(dir, "vae"))); err != nil {
				t.Fatal(err)
			}
			sameWeights(t, "vae", open(t, whole, base.Options{}), want, true)
		}
	}
	if !found {
		t.Skip("no full set of parity numbers (LOWRANK_PARITY); TestOldAttentionNames checks the names")
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"one/unet/config.json", "two.safetensors", "other/readme.txt"} {
		p := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := base.Names(base.Options{Folders: []string{dir, "absent"}}), []string{embedded.Name, "one", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestShards: weights in several files with an index are one part.
func TestShards(t *testing.T) {
	dir := copyOfEmbedded(t)
	whole := filepath.Join(dir, "unet/diffusion_pytorch_model.safetensors")
	f, err := safetensors.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	var parts [2][]safetensors.Entry
	index := map[string]string{}
	shard := []string{"diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"}
	for i, name := range f.Names() {
		x, _ := f.Lookup(name)
		parts[i%2] = append(parts[i%2], safetensors.FromTensor(x))
		index[name] = shard[i%2]
	}
	for i, s := range shard {
		if err := safetensors.WriteFile(filepath.Join(dir, "unet", s), parts[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"metadata": map[string]int{"total_size": 1}, "weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Remove(whole), os.WriteFile(whole+".index.json", text, 0o644)); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, base.Options{})
	sameWeights(t, "unet", b, open(t, embedded.Name, base.Options{}), true)
	files, err := b.WeightFiles()
	if err != nil || len(files) != 4 {
		t.Errorf("files: got %v, %v", files, err)
	}
}

func TestClosed(t *testing.T) {
	b, err := base.Open(copyOfEmbedded(t), base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Weights("unet"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if w, err := b.Weights("vae"); err == nil || w != nil {
		t.Errorf("after Close: got %v, %v", w, err)
	}
}

// TestInMemory: a folder needs not be on a disk.
func TestInMemory(t *testing.T) {
	files := fstest.MapFS{}
	err := fs.WalkDir(embedded.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(embedded.FS(), p)
		files[p] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := base.OpenFS("memory", files)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sameWeights(t, "vae", b, open(t, embedded.Name, base.Options{}), true)
}
