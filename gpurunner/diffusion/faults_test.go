package diffusion_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// TestFaults breaks a model's folder in one place each and wants the error to
// name it.
func TestFaults(t *testing.T) {
	const unetFile, textFile = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		{"OK", func(*testing.T, string) {}, nil},
		{"ErrMissingWeight", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, unetFile), func(e []safetensors.Entry) []safetensors.Entry {
				return drop(e, "conv_in.bias")
			})
		}, []string{"unet", `"conv_in.bias" is missing`}},
		{"ErrShape", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, unetFile), func(e []safetensors.Entry) []safetensors.Entry {
				return append(drop(e, "conv_in.bias"), safetensors.FromFloat32s("conv_in.bias", safetensors.F32, []int{2}, []float32{1, 2}))
			})
		}, []string{"unet", `"conv_in.bias" has shape [2]`}},
		{"ErrNaN", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, unetFile), func(e []safetensors.Entry) []safetensors.Entry {
				return spoil(e, "conv_in.bias")
			})
		}, []string{"unet", `"conv_in.bias" is not finite`}},
		{"ErrNaNPosition", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, textFile), func(e []safetensors.Entry) []safetensors.Entry {
				return spoil(e, "text_model.embeddings.position_embedding.weight")
			})
		}, []string{`"text_model.embeddings.position_embedding.weight" is not finite (row 0)`}},
		{"ErrNaNToken", func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, textFile), func(e []safetensors.Entry) []safetensors.Entry {
				return spoil(e, "text_model.embeddings.token_embedding.weight")
			})
		}, []string{`"text_model.embeddings.token_embedding.weight" is not finite (row `}},
		{"ErrConfig", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "unet/config.json"), `{"block_out_channels":`)
		}, []string{"unet", "config.json"}},
		{"ErrTruncated", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, unetFile), 5000); err != nil {
				t.Fatal(err)
			}
		}, []string{"diffusion_pytorch_model.safetensors"}},
		{"ErrNoVocabulary", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "tokenizer/vocab.json")); err != nil {
				t.Fatal(err)
			}
		}, []string{"vocab.json"}},
		{"ErrOtherEncoder", func(t *testing.T, dir string) {
			replace(t, filepath.Join(dir, "unet/config.json"), `"cross_attention_dim": 32`, `"cross_attention_dim": 40`)
		}, []string{"cross_attention_dim is 40"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "model")
			if err := os.CopyFS(dir, os.DirFS(paritytest.Roots(t)[0].Path("models/sd15-tiny"))); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir)
			err := loadAll(t, dir)
			if tt.want == nil {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want an error with %q", err, want)
				}
			}
		})
	}
}

func loadAll(t *testing.T, dir string) error {
	b, err := base.Open(dir, base.Options{})
	if err != nil {
		return err
	}
	defer b.Close()
	pool := enginetest.Pool(t)
	m, err := diffusion.Open(pool, b)
	if err != nil {
		return err
	}
	defer m.Release()
	if err := autodiff.Run(t.Context(), pool, func(p *autodiff.Pass) error {
		encoded, err := m.Encode(p, m.Tokenize([]string{"a cat"}, diffusion.Words{}), diffusion.Words{})
		if err == nil {
			encoded.Release()
		}
		return err
	}); err != nil {
		return err
	}
	for i := range m.Text {
		if _, err := m.TextNetwork(i); err != nil {
			return err
		}
	}
	if _, err := m.Encoder(); err != nil {
		return err
	}
	if _, err := m.Decoder(); err != nil {
		return err
	}
	_, err = m.UNet()
	return err
}

func rewrite(t *testing.T, path string, change func([]safetensors.Entry) []safetensors.Entry) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenBytes(path, raw)
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for _, name := range f.Names() {
		x, _ := f.Lookup(name)
		entries = append(entries, safetensors.Entry{Info: x.Info, Data: x.Bytes()})
	}
	if err := safetensors.WriteFile(path, change(entries), nil); err != nil {
		t.Fatal(err)
	}
}

// spoil fills a weight with NaN.
func spoil(entries []safetensors.Entry, name string) []safetensors.Entry {
	for i := range entries {
		if entries[i].Name == name {
			entries[i].Data = bytes.Repeat([]byte{0xff}, len(entries[i].Data))
		}
	}
	return entries
}

func drop(entries []safetensors.Entry, name string) []safetensors.Entry {
	var out []safetensors.Entry
	for _, e := range entries {
		if e.Name != name {
			out = append(out, e)
		}
	}
	return out
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, path, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), from) {
		t.Fatalf("%s does not hold %s", path, from)
	}
	write(t, path, strings.Replace(string(raw), from, to, 1))
}

// TestRealSize loads folders of real models' size, made by
// scripts/parity/realsize.py, and wants every weight to be used.
func TestRealSize(t *testing.T) {
	dirs := filepath.SplitList(os.Getenv("LOWRANK_REALSIZE"))
	if len(dirs) == 0 {
		if paritytest.Required("realsize") {
			t.Fatal("LOWRANK_REALSIZE names no folder")
		}
		t.Skip("LOWRANK_REALSIZE names no folder (see scripts/parity/README.md)")
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b := enginetest.Base(t, dir)
			m, err := diffusion.Open(enginetest.Pool(t), b)
			if err != nil {
				t.Fatal(err)
			}
			load := func(what string, f func() error) {
				if err := f(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			// One after the other: together they are large.
			for i := range m.Text {
				load("text encoder", func() error { _, err := m.TextNetwork(i); return err })
			}
			m.ReleaseText()
			load("encoder", func() error { _, err := m.Encoder(); return err })
			load("decoder", func() error { _, err := m.Decoder(); return err })
			m.ReleaseEncoder()
			m.ReleaseDecoder()
			load("unet", func() error { _, err := m.UNet(); return err })
			m.ReleaseUNet()
			for _, part := range b.Parts() {
				w, err := b.Part(part)
				if err != nil {
					t.Fatal(err)
				}
				if unused := w.Unused(); len(unused) > 0 {
					t.Errorf("%s: %d weights are not used: %q", part, len(unused), unused)
				}
				t.Logf("%s: all %d weights used", part, len(w.Names()))
			}
		})
	}
}
