package base

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

type zeros int64

func (n zeros) WriteTo(w io.Writer) (int64, error) {
	return io.CopyN(w, zeroReader{}, int64(n))
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// skeleton lists the tensors of an SD 1.5 checkpoint that tell its layout, in one byte an element; the others are of
// one element.
func skeleton() []safetensors.Entry {
	var out []safetensors.Entry
	add := func(name string, shape ...int) {
		n := 1
		for _, s := range shape {
			n *= s
		}
		out = append(out, safetensors.Entry{Info: safetensors.Info{Name: name, DType: safetensors.U8, Shape: shape}, Source: zeros(n)})
	}
	channels := []int{320, 640, 1280, 1280}
	block := func(prefix string, c int, attends bool) {
		add(prefix+".0.in_layers.0.weight", 1)
		add(prefix+".0.out_layers.3.weight", c, 2, 1, 1)
		if attends {
			add(prefix+".1.norm.weight", 1)
		}
	}
	u := unetPrefix
	add(u+"time_embed.0.weight", 1)
	add(u+"input_blocks.0.0.weight", 320, 4, 3, 3)
	add(u+"out.2.weight", 4, 320, 3, 3)
	add(u+"middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1280, 768)
	add(u+"middle_block.1.proj_in.weight", 1280, 1, 1, 1)
	for i, c := range channels {
		for j := range 2 {
			block(fmt.Sprintf("%sinput_blocks.%d", u, 3*i+j+1), c, i < 3)
		}
		if i < 3 {
			add(fmt.Sprintf("%sinput_blocks.%d.0.op.weight", u, 3*i+3), 1)
		}
		for j := range 3 {
			block(fmt.Sprintf("%soutput_blocks.%d", u, 3*i+j), c, i > 0)
		}
		if i < 3 {
			n := 2
			if i == 0 {
				n = 1
			}
			add(fmt.Sprintf("%soutput_blocks.%d.%d.conv.weight", u, 3*i+2, n), 1)
		}
	}
	add(vaePrefix+"encoder.conv_in.weight", 128, 3, 3, 3)
	add(vaePrefix+"decoder.conv_out.weight", 3, 128, 3, 3)
	add(vaePrefix+"post_quant_conv.weight", 4, 4, 1, 1)
	add(vaePrefix+"loss.discriminator.weight", 1)
	for i, c := range []int{128, 256, 512, 512} {
		for j := range 2 {
			add(fmt.Sprintf("%sencoder.down.%d.block.%d.conv1.weight", vaePrefix, i, j), c, 2)
		}
	}
	t := textPrefix + "text_model."
	add(t+"embeddings.token_embedding.weight", 49408, 768)
	add(t+"embeddings.position_embedding.weight", 77, 768)
	add(t+"embeddings.position_ids", 1, 77)
	for i := range 12 {
		add(fmt.Sprintf("%sencoder.layers.%d.layer_norm1.weight", t, i), 768)
	}
	add(t+"encoder.layers.0.mlp.fc1.weight", 3072, 768)
	add("model_ema.decay", 1)
	return out
}

// TestUsualSingleFile: a file of Stable Diffusion 1.5's sizes needs nothing beside it.
func TestUsualSingleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v1-5.safetensors")
	if err := safetensors.WriteFile(path, skeleton(), nil); err != nil {
		t.Fatal(err)
	}
	b, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Card.Kind != SD1 || b.Card.NativeSize != 512 || b.Card.Name != "v1-5" {
		t.Errorf("card: got %+v", b.Card)
	}
	for path, want := range map[string]map[string]any{
		"unet/config.json": {"in_channels": 4.0, "out_channels": 4.0, "block_out_channels": []any{320.0, 640.0, 1280.0, 1280.0}, "layers_per_block": 2.0,
			"cross_attention_dim": 768.0, "attention_head_dim": 8.0, "norm_num_groups": 32.0, "use_linear_projection": false,
			"down_block_types": []any{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"},
			"up_block_types":   []any{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"}},
		"vae/config.json": {"block_out_channels": []any{128.0, 256.0, 512.0, 512.0}, "layers_per_block": 2.0, "latent_channels": 4.0, "scaling_factor": 0.18215},
		"text_encoder/config.json": {"hidden_size": 768.0, "num_hidden_layers": 12.0, "num_attention_heads": 12.0, "intermediate_size": 3072.0,
			"vocab_size": 49408.0, "max_position_embeddings": 77.0, "hidden_act": "quick_gelu"},
		schedulerConfig: {"prediction_type": "epsilon", "beta_schedule": "scaled_linear"},
	} {
		text, err := b.Config(path)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for key, w := range want {
			if fmt.Sprint(got[key]) != fmt.Sprint(w) {
				t.Errorf("%s: %s is %v, want %v", path, key, got[key], w)
			}
		}
	}
	tok, err := b.Tokenizer("tokenizer")
	if err != nil || tok.Len() != tokenizer.CLIP().Len() {
		t.Errorf("tokenizer: got %v, %v", tok, err)
	}
	if _, err := b.Weights("unet"); err == nil || !strings.Contains(err.Error(), "is stored as U8; weights must be") {
		t.Errorf("weights in bytes: got %v", err)
	}
	// A card beside it has its say.
	card := filepath.Join(filepath.Dir(path), "v1-5.json")
	if err := os.WriteFile(card, []byte(`{"prediction_type": "v_prediction", "drawing": {"steps": 9}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Open("v1-5", Options{Folders: []string{filepath.Dir(path)}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if v.Card.Drawing.Steps != 9 || v.traits.prediction != "v_prediction" {
		t.Errorf("with a card: got %+v", v.Card)
	}
}

// TestDerivedConfigs: what is derived of the fixtures' single files is what their folders' configurations say, but for
// the keys that no tensor tells.
func TestDerivedConfigs(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		files, _ := filepath.Glob(root.Path("models/*-single/*.safetensors"))
		for _, file := range files {
			f, err := safetensors.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := checkpoint{f}
			name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
			for part, derive := range map[string]func() (derived, error){"unet": c.unet, "vae": c.vae, "text_encoder": c.text} {
				d, err := derive()
				if err != nil {
					t.Fatal(err)
				}
				var got, want map[string]any
				if err := json.Unmarshal(d.json(), &got); err != nil {
					t.Fatal(err)
				}
				root.JSON(t, "models/"+name+"/"+part+"/config.json", &want)
				for key, w := range want {
					g, ok := got[key]
					switch key {
					case "attention_head_dim", "norm_num_groups", "num_attention_heads", "projection_dim", "sample_size":
						continue
					}
					if ok && fmt.Sprint(g) != fmt.Sprint(w) {
						t.Errorf("%s: %s: %s is %v, want %v", name, part, key, g, w)
					}
				}
				for _, key := range []string{"block_out_channels", "layers_per_block", "hidden_size", "num_hidden_layers", "cross_attention_dim"} {
					if (want[key] == nil) != (got[key] == nil) {
						t.Errorf("%s: %s: %s is %v, want %v", name, part, key, got[key], want[key])
					}
				}
			}
		}
	}
}

// TestCardConfigs: a card names the folder with the configurations of an unusual file.
func TestCardConfigs(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		files, _ := filepath.Glob(root.Path("models/*-single/*.safetensors"))
		for _, file := range files {
			dir := t.TempDir()
			name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+".safetensors"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(dir, "configs"), os.DirFS(root.Path("models/"+name))); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(`{"configs": "configs"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := Open(filepath.Join(dir, name+".safetensors"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Tokenizer("tokenizer"); err != nil {
				t.Error(err)
			}
			b.Close()
		}
	}
}

func TestOldAttentionNames(t *testing.T) {
	for _, c := range []struct {
		name  string
		shape []int
		want  string
		to    []int
	}{
		{"encoder.mid_block.attentions.0.query.weight", []int{2, 2}, "encoder.mid_block.attentions.0.to_q.weight", []int{2, 2}},
		{"encoder.mid_block.attentions.0.key.bias", []int{2}, "encoder.mid_block.attentions.0.to_k.bias", []int{2}},
		{"decoder.mid_block.attentions.0.value.weight", []int{2, 2, 1, 1}, "decoder.mid_block.attentions.0.to_v.weight", []int{2, 2}},
		{"decoder.mid_block.attentions.0.proj_attn.weight", []int{2, 2}, "decoder.mid_block.attentions.0.to_out.0.weight", []int{2, 2}},
		{"decoder.mid_block.attentions.0.to_out.0.weight", []int{2, 2}, "decoder.mid_block.attentions.0.to_out.0.weight", []int{2, 2}},
		{"decoder.mid_block.resnets.0.conv1.weight", []int{2, 2, 1, 1}, "decoder.mid_block.resnets.0.conv1.weight", []int{2, 2, 1, 1}},
	} {
		n := 1
		for _, s := range c.shape {
			n *= s
		}
		x, err := safetensors.View(safetensors.Info{Name: c.name, DType: safetensors.U8, Shape: c.shape}, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		got, err := renameVAE(x)
		if err != nil || got.Name != c.want || !slices.Equal(got.Shape, c.to) {
			t.Errorf("%s: got %s %v, %v", c.name, got.Name, got.Shape, err)
		}
	}
	x, _ := safetensors.View(safetensors.Info{Name: "a.attentions.0.q.weight", DType: safetensors.U8, Shape: []int{1, 1, 3, 3}}, make([]byte, 9))
	if _, err := renameVAE(x); err == nil {
		t.Error("a 3×3 convolution was taken for attention")
	}
}

func TestSameWeightTwice(t *testing.T) {
	var b bytes.Buffer
	entries := []safetensors.Entry{
		safetensors.FromFloat32s("text_model.a", safetensors.F32, []int{1}, []float32{1}),
		safetensors.FromFloat32s("a", safetensors.F32, []int{1}, []float32{2}),
	}
	if err := safetensors.Write(&b, entries, nil); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenBytes("twice", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newWeights("text_encoder", []*safetensors.File{f}, renameFor("text_encoder")); err == nil || !strings.Contains(err.Error(), "are the same weight") {
		t.Errorf("got %v", err)
	}
}

// FuzzCheckpoint: no names and shapes of a single file make its reading panic or loop.
func FuzzCheckpoint(f *testing.F) {
	var names []string
	for _, e := range skeleton() {
		names = append(names, e.Name)
	}
	f.Add(strings.Join(names, "\n"))
	f.Add(strings.Join(names[:len(names)/2], "\n"))
	f.Add(unetPrefix + "input_blocks.1.0.op.weight\n" + vaePrefix + "x\n" + textPrefix + "x")
	f.Add(unetPrefix + "\n" + vaePrefix + "\n" + textPrefix)
	f.Fuzz(func(t *testing.T, list string) {
		var entries []safetensors.Entry
		for i, name := range strings.Split(list, "\n") {
			entries = append(entries, safetensors.Entry{Info: safetensors.Info{Name: name, DType: safetensors.U8, Shape: make([]int, 1+i%4)}})
		}
		var b bytes.Buffer
		if safetensors.Write(&b, entries, nil) != nil {
			return
		}
		file, err := safetensors.OpenBytes("fuzz", b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		c := checkpoint{file}
		_ = c.recognise()
		for _, derive := range []func() (derived, error){c.unet, c.vae, c.text} {
			if d, err := derive(); err == nil {
				d.json()
			}
		}
	})
}
