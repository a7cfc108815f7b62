package lora_test

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// The lists of layers are the original's, for every model whose configuration is
// at hand.
func TestTargets(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		var lists map[string]any
		root.JSON(t, "lora/targets.json", &lists)
		tested := 0
		for key, value := range lists {
			name, part, _ := strings.Cut(key, ".")
			if part == "" || !root.Has("models/"+name) {
				continue
			}
			t.Run(root.Name+"/"+key, func(t *testing.T) {
				base := baseOf(t, root.Path("models/"+name))
				targets := lora.DefaultTargets
				if rest, ok := strings.CutSuffix(part, "_extended"); ok {
					part, targets = rest, lora.ExtendedTargets
				}
				var got []string
				for _, m := range base.Targets(lora.Part(part), targets) {
					got = append(got, m.Path)
				}
				var want []string
				for _, v := range value.([]any) {
					want = append(want, v.(string))
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %q\nwant %q", got, want)
				}
			})
			tested++
		}
		if tested == 0 {
			t.Errorf("%s: no list belongs to a model of the set", root.Name)
		}
	}
}

// Every file has the effect that the original's own code had, and so have the
// same weights in other layouts.
func TestEffect(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "lora/effect", func(t *testing.T, c *paritytest.Case) {
			// Prefix is "a.0.5" or "base".
			file, scale, _ := strings.Cut(c.Prefix, ".")
			m := load(t, pool, c.Root.Path("models/sd15-tiny"))
			defer m.release()
			inputs := inputsOf(t, c.Root)
			if file == "base" {
				run(t, m, func(p *autodiff.Pass) { m.compareUNet(t, p, c, inputs) })
				m.compareBaseText(t, c)
				return
			}
			s, err := strconv.ParseFloat(scale, 32)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range filesOf(c.Root, file) {
				set := m.open(t, path)
				mount := lora.Mount{Set: set, Scale: float32(s), ScaleText: true}
				mounted, err := lora.Attach(pool, m.unet, m.encoders, []lora.Mount{mount})
				if err != nil {
					t.Fatal(err)
				}
				v := lora.Join(set)
				if len(v.Names) == 0 { // kohya's and diffusers' files here have no tokens
					v = lora.Join(m.open(t, c.Root.Path("lora/lora_"+file+".safetensors")))
				}
				ids := c.FileTensor(t, file+".input_ids").I64
				run(t, m, func(p *autodiff.Pass) {
					m.compareUNet(t, p, c, inputs)
					h, err := m.encode(p, ids, v)
					if err != nil {
						t.Fatal(err)
					}
					c.Compare(t, "text_out", h)
				})
				m.compareMerged(t, c, mount)
				mounted.Release()
				set.Unload()
			}
		})
	})
}

// filesOf lists the files that hold the weights of lora_<tag>.
func filesOf(r paritytest.Root, tag string) []string {
	var paths []string
	for _, f := range []string{"lora/lora_" + tag + ".safetensors", "lora/kohya_" + tag + ".safetensors", "lora/diffusers_" + tag + "/pytorch_lora_weights.safetensors"} {
		if r.Has(f) {
			paths = append(paths, r.Path(f))
		}
	}
	return paths
}

// inputsOf is the case of the class unet whose inputs the files' effect was
// measured on: the set's first.
func inputsOf(t *testing.T, r paritytest.Root) *paritytest.Case {
	t.Helper()
	var variant struct {
		Cases []struct{ Name string } `json:"unet_cases"`
	}
	r.JSON(t, "variant.json", &variant)
	for _, c := range r.Cases(t, "unet") {
		if c.Base == "sd15-tiny."+variant.Cases[0].Name {
			return c
		}
	}
	t.Fatalf("%s holds no unet case of sd15-tiny called %q", r.Dir, variant.Cases[0].Name)
	return nil
}

func run(t *testing.T, m *model, f func(p *autodiff.Pass)) {
	t.Helper()
	err := autodiff.Run(context.Background(), m.pool, func(p *autodiff.Pass) error { f(p); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) compareUNet(t *testing.T, p *autodiff.Pass, c, inputs *paritytest.Case) {
	t.Helper()
	y, err := m.predict(t, p, inputs)
	if err != nil {
		t.Fatal(err)
	}
	c.CompareNHWC(t, "unet_out", y)
}

// compareBaseText runs the prompt that base.text_out was made of: its ids are
// not stored.
func (m *model) compareBaseText(t *testing.T, c *paritytest.Case) {
	t.Helper()
	words, err := tokenizer.Load(os.DirFS(c.Root.Path("models/sd15-tiny/tokenizer")))
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, id := range words.EncodePadded("a photo of a cat", 77) {
		ids = append(ids, int64(id))
	}
	run(t, m, func(p *autodiff.Pass) {
		h, err := m.encode(p, ids, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Compare(t, "text_out", h)
	})
}

func (m *model) compareMerged(t *testing.T, c *paritytest.Case, mount lora.Mount) {
	t.Helper()
	for _, name := range c.Names("merged.") {
		part, path, _ := strings.Cut(strings.TrimPrefix(name, "merged."), ".")
		source, err := lora.Merge(m.sources[lora.Part(part)], lora.Part(part), []lora.Mount{mount})
		if err != nil {
			t.Fatal(err)
		}
		w, ok := source.Weight(path + ".weight")
		if !ok {
			t.Fatalf("no weight %s", path)
		}
		c.Compare(t, name, nn.Float32(w))
	}
}

// Two files joined by the original's manager, as the hosted inference mounts
// them.
func TestJoin(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "lora/join", func(t *testing.T, c *paritytest.Case) {
			var facts struct {
				Join struct {
					PromptIn    string         `json:"prompt_in"`
					PromptOut   string         `json:"prompt_out"`
					Scales      []float64      `json:"scales"`
					AddedTokens map[string]int `json:"added_tokens"`
				} `json:"join"`
			}
			c.Root.JSON(t, "lora/facts.json", &facts)
			m := load(t, pool, c.Root.Path("models/sd15-tiny"))
			defer m.release()
			var sets []*lora.Set
			var mounts []lora.Mount
			for i, tag := range []string{"a", "c"} {
				set := m.open(t, c.Root.Path("lora/lora_"+tag+".safetensors"))
				sets = append(sets, set)
				mounts = append(mounts, lora.Mount{Set: set, Scale: float32(facts.Join.Scales[i])})
			}
			v := lora.Join(sets...)
			got, dropped, err := v.Expand(facts.Join.PromptIn)
			if err != nil || len(dropped) > 0 || got != facts.Join.PromptOut {
				t.Errorf("prompt: got %q (dropped %v, %v), want %q", got, dropped, err, facts.Join.PromptOut)
			}
			for i, name := range v.Names {
				if want := facts.Join.AddedTokens[name]; want != m.encoders[0].Config.VocabSize+i {
					t.Errorf("token %s is %d, want %d", name, m.encoders[0].Config.VocabSize+i, want)
				}
			}
			mounted, err := lora.Attach(pool, m.unet, m.encoders, mounts)
			if err != nil {
				t.Fatal(err)
			}
			inputs := inputsOf(t, c.Root)
			run(t, m, func(p *autodiff.Pass) {
				m.compareUNet(t, p, c, inputs)
				h, err := m.encode(p, c.Tensor(t, "input_ids").I64, v)
				if err != nil {
					t.Fatal(err)
				}
				c.Compare(t, "text_out", h)
			})
			mounted.Release()
			for _, s := range sets {
				s.Unload()
			}
		})
	})
}

// The embeddings alone are those of the file that they came from.
func TestEmbeddings(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		base := baseOf(t, root.Path("models/sd15-tiny"))
		whole, err := lora.Open(root.Path("lora/lora_a.safetensors"), base)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := lora.Open(root.Path("lora/learned_embeds_a.safetensors"), base)
		if err != nil {
			t.Fatal(err)
		}
		if len(alone.Adapters) != 0 || len(alone.Tokens) != 2 || alone.Format != lora.Embedding {
			t.Fatalf("got %d adapters, %d tokens, format %s", len(alone.Adapters), len(alone.Tokens), alone.Format)
		}
		for i, want := range whole.Tokens {
			if got := alone.Tokens[i]; got.Name != want.Name || !slices.Equal(got.Rows[0][0], want.Rows[0][0]) {
				t.Errorf("token %q differs from %q", got.Name, want.Name)
			}
		}
	}
}
