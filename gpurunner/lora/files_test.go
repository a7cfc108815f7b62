package lora_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// smallBase is the layers of a tiny model of the embedded set.
func smallBase(t testing.TB, name string) *lora.Base {
	t.Helper()
	return baseOf(t, paritytest.Roots(t)[0].Path("models/"+name))
}

// randomSet adapts the given layers, with values that float16 holds exactly.
func randomSet(base *lora.Base, rank int, modules []*lora.Module) *lora.Set {
	rng := rand.New(rand.NewPCG(1, uint64(rank)))
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.IntN(2001)-1000) / 1024
		}
		return v
	}
	set := &lora.Set{Name: "random", Base: base}
	for _, m := range modules {
		k := max(1, m.Kernel*m.Kernel)
		set.Adapters = append(set.Adapters, lora.Adapter{Module: m, Rank: rank, Down: values(rank * m.In * k), Up: values(m.Out * rank), Scale: 1})
	}
	for _, name := range []string{"<s1>", "<s2>"} {
		tok := lora.Token{Name: name}
		for _, w := range base.Widths {
			tok.Rows = append(tok.Rows, [][]float32{values(w)})
		}
		set.Tokens = append(set.Tokens, tok)
	}
	return set
}

func allTargets(base *lora.Base, t lora.Targets) []*lora.Module {
	var list []*lora.Module
	for _, p := range []lora.Part{lora.UNet, lora.TextEncoder, lora.TextEncoder2} {
		list = append(list, base.Targets(p, t)...)
	}
	return list
}

func everything(base *lora.Base) []*lora.Module {
	var list []*lora.Module
	for i := range base.Modules {
		list = append(list, &base.Modules[i])
	}
	return list
}

// same compares what two sets do; want's scales are folded into up.
func same(t *testing.T, got, want *lora.Set) {
	t.Helper()
	if len(got.Adapters) != len(want.Adapters) {
		t.Fatalf("got %d adapters, want %d", len(got.Adapters), len(want.Adapters))
	}
	byPath := map[string]*lora.Adapter{}
	for i := range got.Adapters {
		byPath[got.Adapters[i].Module.String()] = &got.Adapters[i]
	}
	for i := range want.Adapters {
		w := &want.Adapters[i]
		g := byPath[w.Module.String()]
		if g == nil {
			t.Fatalf("no adapter of %s", w.Module)
		}
		if g.Rank != w.Rank || !slices.Equal(g.Delta(), w.Delta()) {
			t.Fatalf("adapter of %s differs", w.Module)
		}
	}
	if !reflect.DeepEqual(got.Tokens, want.Tokens) {
		t.Errorf("got tokens %v, want %v", names(got.Tokens), names(want.Tokens))
	}
}

func names(tokens []lora.Token) (list []string) {
	for _, t := range tokens {
		list = append(list, t.Name)
	}
	return list
}

func TestRoundTrip(t *testing.T) {
	for _, model := range []string{"sd15-tiny", "sdxl-tiny"} {
		base := smallBase(t, model)
		for _, tt := range []struct {
			name    string
			modules []*lora.Module
			formats []lora.Format
		}{
			{"Default", allTargets(base, lora.DefaultTargets), lora.Formats},
			{"Extended", allTargets(base, lora.ExtendedTargets), lora.Formats},
			{"UNetOnly", base.Targets(lora.UNet, lora.DefaultTargets), lora.Formats},
			{"TextOnly", base.Targets(lora.TextEncoder, lora.DefaultTargets), lora.Formats},
			{"Tokens", nil, lora.Formats},
			{"EveryLayer", everything(base), []lora.Format{lora.Diffusers, lora.Kohya}},
		} {
			for _, format := range tt.formats {
				t.Run(fmt.Sprintf("%s/%s/%s", model, tt.name, format), func(t *testing.T) {
					set := randomSet(base, 3, tt.modules)
					path := filepath.Join(t.TempDir(), "x.safetensors")
					if err := lora.WriteFile(path, set, format); err != nil {
						t.Fatal(err)
					}
					got, err := lora.OpenAny(path, base)
					if err != nil {
						t.Fatal(err)
					}
					if got.Format != format && len(tt.modules) > 0 || len(got.Unused) > 0 {
						t.Errorf("format %s, unused %v", got.Format, got.Unused)
					}
					same(t, got, set)

					// The same set gives the same bytes, in whatever order it lies.
					var again bytes.Buffer
					slices.Reverse(set.Tokens)
					if err := lora.Write(&again, set, format); err != nil {
						t.Fatal(err)
					}
					if first, _ := os.ReadFile(path); !bytes.Equal(first, again.Bytes()) {
						t.Error("a second writing gives other bytes")
					}
				})
			}
		}
	}
}

// Conversions between all layouts come back to the same bytes.
func TestConvert(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		base := baseOf(t, root.Path("models/sd15-tiny"))
		for _, file := range []string{"lora_a", "lora_ext"} {
			t.Run(root.Name+"/"+file, func(t *testing.T) {
				dir := t.TempDir()
				at := root.Path("lora/" + file + ".safetensors")
				var first []byte
				for i, f := range []lora.Format{lora.Cloneofsimo, lora.Kohya, lora.Diffusers, lora.Cloneofsimo} {
					next := filepath.Join(dir, fmt.Sprintf("%d.safetensors", i))
					set, err := lora.Convert(at, next, f, base)
					if err != nil || len(set.Unused) > 0 {
						t.Fatalf("to %s: %v, unused %v", f, err, set.Unused)
					}
					if i == 0 {
						first, _ = os.ReadFile(next)
					}
					at = next
				}
				if last, _ := os.ReadFile(at); !bytes.Equal(first, last) {
					t.Error("after kohya and diffusers the file has other bytes")
				}
			})
		}
	}
}

// The file as the original writes it: same tensors, types and shapes, same
// metadata but for the order within the sets of classes.
func TestOriginalLayout(t *testing.T) {
	for _, root := range paritytest.Roots(t) {
		base := baseOf(t, root.Path("models/sd15-tiny"))
		path := root.Path("lora/lora_a.safetensors")
		set, err := lora.Open(path, base)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := lora.Write(&out, set, lora.Cloneofsimo); err != nil {
			t.Fatal(err)
		}
		got, err := safetensors.OpenBytes("written", out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		want, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Tensors(), want.Tensors()) {
			t.Error("names, types or shapes differ")
		}
		for _, name := range want.Names() {
			a, _ := got.Lookup(name)
			b, _ := want.Lookup(name)
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("%s has other numbers", name)
			}
		}
		var facts struct {
			A struct{ Metadata map[string]string } `json:"lora_a"`
		}
		root.JSON(t, "lora/facts.json", &facts)
		gotMeta, wantMeta := got.Metadata(), facts.A.Metadata
		for _, m := range []map[string]string{gotMeta, wantMeta} {
			for _, k := range []string{"unet", "text_encoder"} {
				classes := strings.Split(strings.Trim(m[k], "[]"), ", ")
				slices.Sort(classes)
				m[k] = strings.Join(classes, ", ")
			}
		}
		if !maps.Equal(gotMeta, wantMeta) {
			t.Errorf("metadata: got %v\nwant %v", gotMeta, wantMeta)
		}
		want.Close()
	}
}

// Rank 4 on the shapes of SD 1.5 is at most 3.4 MB, in each layout.
func TestSize(t *testing.T) {
	sd1 := lora.Known()[0]
	for _, f := range lora.Formats {
		var out bytes.Buffer
		if err := lora.Write(&out, randomSet(sd1, 4, allTargets(sd1, lora.DefaultTargets)), f); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", f, out.Len())
		if out.Len() > 3_400_000 {
			t.Errorf("%s: %d bytes", f, out.Len())
		}
	}
}

// The public bases have as many layers as the files that are found in the wild.
func TestKnownCounts(t *testing.T) {
	for i, want := range []struct {
		name                              string
		unet, extended, text, text2, flat int
	}{
		{"SD 1", 144, 224, 48, 0, 278},
		{"SD 2", 144, 224, 92, 0, 278},
		{"SDXL", 630, 692, 48, 128, 788},
	} {
		b := lora.Known()[i]
		unet := 0
		for _, m := range b.Modules {
			if m.Part == lora.UNet && m.Path != "conv_in" && m.Path != "conv_out" && !strings.Contains(m.Path, "_embedding.") {
				unet++
			}
		}
		got := []int{len(b.Targets(lora.UNet, lora.DefaultTargets)), len(b.Targets(lora.UNet, lora.ExtendedTargets)),
			len(b.Targets(lora.TextEncoder, "")), len(b.Targets(lora.TextEncoder2, "")), unet}
		if b.Name != want.name || !slices.Equal(got, []int{want.unet, want.extended, want.text, want.text2, want.flat}) {
			t.Errorf("%s: got %v, want %v", b.Name, got, want)
		}
	}
}
