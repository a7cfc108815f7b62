package lora_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

func tensor32(name string, shape ...int) safetensors.Entry {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return safetensors.FromFloat32s(name, safetensors.F32, shape, make([]float32, n))
}

func TestOpenErrors(t *testing.T) {
	base := smallBase(t, "sd15-tiny") // UNet 8 and 16 wide, text 32
	const q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
	kohya := "lora_unet_" + strings.ReplaceAll(q, ".", "_")
	numbered := func(change func(entries []safetensors.Entry) []safetensors.Entry) []safetensors.Entry {
		list := base.Targets(lora.UNet, "")
		return change(naming(randomSet(base, 2, list), func(m *lora.Module, f string) string {
			return fmt.Sprintf("unet:%d:%s", slices.Index(list, m), f)
		}))
	}
	nan := tensor32(kohya+".lora_up.weight", 8, 2)
	nan.Source = nil
	nan.Data = make([]byte, 64)
	nan.Data[7], nan.Data[6] = 0x7f, 0xc0
	pair := func(d, u []int) []safetensors.Entry {
		return []safetensors.Entry{tensor32(kohya+".lora_down.weight", d...), tensor32(kohya+".lora_up.weight", u...)}
	}
	ok := pair([]int{2, 8}, []int{8, 2})
	for _, tt := range []struct {
		name    string
		entries []safetensors.Entry
		meta    map[string]string
		want    string
	}{
		{"ErrEmpty", nil, nil, "holds no tensors"},
		{"ErrNothingFits", []safetensors.Entry{tensor32("model.weight", 2, 2), tensor32("other", 1)}, nil, "none of its 2 keys is known"},
		{"ErrUpMissing", ok[:1], nil, "unet." + q + " has no up"},
		{"ErrOnlyAlpha", []safetensors.Entry{tensor32(kohya + ".alpha")}, nil, "no factors"},
		{"ErrOtherBaseDown", pair([]int{2, 9}, []int{8, 2}), nil, `"` + kohya + `.lora_down.weight" has shape [2 9], but unet.` + q + ` of the base model sd15-tiny needs [2 8]`},
		{"ErrOtherBaseUp", pair([]int{2, 8}, []int{9, 2}), nil, "has shape [9 2]"},
		{"ErrRanks", pair([]int{2, 8}, []int{8, 3}), nil, "has rank 2"},
		{"ErrRankZero", pair([]int{0, 8}, []int{8, 0}), nil, "impossible shape [0 8]"},
		{"ErrKernel", pair([]int{2, 8, 3, 3}, []int{8, 2, 1, 1}), nil, "needs [2 8]"},
		{"ErrNaN", []safetensors.Entry{ok[0], nan}, nil, "is not finite: element 1 is NaN"},
		{"ErrAlphaShape", append(pair([]int{2, 8}, []int{8, 2}), tensor32(kohya+".alpha", 2)), nil, "has shape [2], not one element"},
		{"ErrTwice", append(pair([]int{2, 8}, []int{8, 2}), tensor32("unet."+q+".lora_A.weight", 2, 8)), nil, "two tensors for one place"},
		{"ErrDoRA", append(pair([]int{2, 8}, []int{8, 2}), tensor32(kohya+".dora_scale", 8, 1)), nil, "unsupported algorithm DoRA in 1 modules"},
		{"ErrDoRAPEFT", append(pair([]int{2, 8}, []int{8, 2}), tensor32("unet."+q+".lora_magnitude_vector", 8)), nil, "unsupported algorithm DoRA in 1 modules"},
		{"ErrOFT", []safetensors.Entry{tensor32(kohya+".oft_blocks", 2, 4, 4)}, nil, "unsupported algorithm OFT in 1 modules"},
		{"ErrMetadata", ok, map[string]string{"lora_adapter_metadata": "{"}, "lora_adapter_metadata is not valid JSON"},
		{"ErrGap", numbered(func(e []safetensors.Entry) []safetensors.Entry {
			return slices.DeleteFunc(e, func(e safetensors.Entry) bool { return strings.HasPrefix(e.Name, "unet:7:") })
		}), nil, "none is numbered 7"},
		{"ErrHalf", numbered(func(e []safetensors.Entry) []safetensors.Entry {
			return slices.DeleteFunc(e, func(e safetensors.Entry) bool { return e.Name == "unet:7:up" })
		}), nil, "unet:7:up is missing"},
		{"ErrCount", numbered(func(e []safetensors.Entry) []safetensors.Entry { return e[:20] }), nil, "it has 10 numbered layers of unet, the base model sd15-tiny has 144, 128, 223 or 207"},
		{"ErrNumberedShape", numbered(func(e []safetensors.Entry) []safetensors.Entry { e[0] = tensor32("unet:0:down", 2, 9); return e }), nil, `"unet:0:down" has shape [2 9]`},
		{"ErrTokenWidth", append(pair([]int{2, 8}, []int{8, 2}), tensor32("<s1>", 33)), nil, `key "<s1>" has shape [33], but embeddings of the base model sd15-tiny are [n,32]`},
		{"ErrTokenSecond", []safetensors.Entry{tensor32("clip_l", 1, 32), tensor32("clip_g", 1, 32)}, nil, "second text encoder"},
		{"ErrTokenLong", []safetensors.Entry{tensor32("emb_params", 76, 32)}, nil, "has 76 vectors"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.entries, tt.meta)
			_, err := lora.Open(path, base)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one with the path and %q", err, tt.want)
			}
		})
	}
}

// Both of SDXL's encoders have vectors, and as many.
func TestTokenRows(t *testing.T) {
	xl := smallBase(t, "sdxl-tiny")
	w := xl.Widths
	for _, tt := range []struct {
		name    string
		entries []safetensors.Entry
		want    string
	}{
		{"ErrUneven", []safetensors.Entry{tensor32("clip_l", 2, w[0]), tensor32("clip_g", 3, w[1])}, "2 vectors for the first text encoder and 3 for the second"},
		{"ErrFirstOnly", []safetensors.Entry{tensor32("clip_l", 2, w[0])}, "has no vectors for text encoder 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := lora.Open(write(t, tt.entries, nil), xl); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOpenNotSafetensors(t *testing.T) {
	for name, tt := range map[string]struct{ data, want string }{
		"ErrZip":     {"PK\x03\x04\x00\x00\x08\x08archive/data.pkl", "no file that torch.save has written since 2020"},
		"ErrPickle":  {"\x80\x02]q\x00(ctorch._utils\n_rebuild", "Python pickle without a zip around it"},
		"ErrPicture": {"\x89PNG\r\n\x1a\n0000", "no embedding lies in it"},
		"ErrHTML":    {"<html><body>Not found</body></html>", "not a valid safetensors file"},
		"ErrShort":   {"x", "not a valid safetensors file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lora.pt")
			if err := os.WriteFile(path, []byte(tt.data), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := lora.Open(path, smallBase(t, "sd15-tiny")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A file of another base says which base it fits, and a named file's unused keys
// are listed.
func TestOtherBase(t *testing.T) {
	known := lora.Known()
	for i, b := range known {
		set := randomSet(b, 1, b.Targets(lora.UNet, ""))
		for _, f := range lora.Formats {
			path := filepath.Join(t.TempDir(), "x.safetensors")
			if err := lora.WriteFile(path, set, f); err != nil {
				t.Fatal(err)
			}
			got, err := lora.OpenAny(path)
			if err != nil || got.Base.Name != b.Name {
				t.Fatalf("%s as %s: guessed %v, %v", b.Name, f, got, err)
			}
			var wrong *lora.MismatchError
			_, err = lora.Open(path, known[(i+1)%3])
			if !errors.As(err, &wrong) || wrong.Fits != b.Name {
				t.Errorf("%s as %s on %s: got %v", b.Name, f, known[(i+1)%3].Name, err)
			}
		}
	}
}

func TestUnused(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	set := randomSet(base, 1, base.Targets(lora.UNet, ""))
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := lora.WriteFile(path, set, lora.Kohya); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var entries []safetensors.Entry
	for _, name := range f.Names() {
		x, _ := f.Lookup(name)
		entries = append(entries, safetensors.FromTensor(x))
	}
	entries = append(entries, tensor32("lora_unet_elsewhere.lora_up.weight", 2, 2), tensor32("something", 3))
	got, err := lora.Open(write(t, entries, nil), base)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"lora_unet_elsewhere.lora_up.weight", "something"}; !slices.Equal(got.Unused, want) {
		t.Errorf("got unused %q, want %q", got.Unused, want)
	}
	if got, want := got.UnusedNote(), `2 keys fit nothing in this base model and are not used: "lora_unet_elsewhere.lora_up.weight", "something"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	many := lora.Set{Unused: slices.Repeat([]string{strings.Repeat("x", 1000)}, 500)}
	if note := many.UnusedNote(); len(note) > 6000 || !strings.HasSuffix(note, "and 480 more, which lowrank inspect lists") {
		t.Errorf("a note of %d bytes", len(note))
	}
	if note := (&lora.Set{}).UnusedNote(); note != "" {
		t.Errorf("a note of nothing: %s", note)
	}
}

func TestWriteErrors(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	one := func() *lora.Set { return randomSet(base, 1, base.Targets(lora.UNet, "")[:1]) }
	for _, tt := range []struct {
		name   string
		change func(s *lora.Set)
		format lora.Format
		want   string
	}{
		{"ErrNothing", func(s *lora.Set) { s.Adapters, s.Tokens = nil, nil }, lora.Kohya, "nothing to write"},
		{"ErrFormat", func(s *lora.Set) {}, "pickle", `cannot be written as "pickle"`},
		{"ErrNaN", func(s *lora.Set) { s.Adapters[0].Up[0] = float32(math.NaN()) }, lora.Diffusers, "NaN"},
		{"ErrInf", func(s *lora.Set) { s.Tokens[0].Rows[0][0][0] = float32(math.Inf(1)) }, lora.Diffusers, "+Inf"},
		{"ErrFloat16", func(s *lora.Set) { s.Adapters[0].Up[0], s.Adapters[0].Scale = 65000, 2 }, lora.Cloneofsimo, "beyond what float16 can hold"},
		{"ErrNoNumber", func(s *lora.Set) { s.Adapters = randomSet(base, 1, everything(base)).Adapters }, lora.Cloneofsimo, "has no place for"},
		{"ErrReserved", func(s *lora.Set) { s.Tokens[0].Name = "unet" }, lora.Cloneofsimo, "use for something else"},
		{"ErrDot", func(s *lora.Set) { s.Tokens[0].Name = "a.b" }, lora.Kohya, "dot"},
		{"ErrSecondEncoder", func(s *lora.Set) { s.Tokens[0].Rows = append(s.Tokens[0].Rows, s.Tokens[0].Rows[0]) }, lora.Kohya, "2 text encoders"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := one()
			tt.change(set)
			path := filepath.Join(t.TempDir(), "x.safetensors")
			err := lora.WriteFile(path, set, tt.format)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("a file is there")
			}
		})
	}
}

// What CheckNames lets through is read again as it was, in every layout; what it
// refuses is not written.
func TestCheckNames(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	ok := map[string][]lora.Format{ // the layouts that have a place for it
		"<s1>": lora.Formats, "cat": lora.Formats, "a:b": lora.Formats, "unet:0": lora.Formats, "lora_unet_x": lora.Formats, "ss_v2": lora.Formats,
		"unet": {lora.Diffusers, lora.Kohya}, "text_encoder": {lora.Diffusers, lora.Kohya}, "text_encoder_2": {lora.Diffusers, lora.Kohya},
		"format": {lora.Diffusers, lora.Kohya}, "__metadata__": {lora.Diffusers, lora.Kohya},
		"unet:0:up": {lora.Diffusers, lora.Kohya}, "text_encoder:12:rank": {lora.Diffusers, lora.Kohya},
		"a.b": {lora.Cloneofsimo, lora.Diffusers}, "a/b": {lora.Cloneofsimo, lora.Diffusers},
		"x:text_encoder_2": nil,
	}
	for name, formats := range ok {
		for _, f := range lora.Formats {
			t.Run(string(f)+"_"+name, func(t *testing.T) {
				set := randomSet(base, 1, allTargets(base, lora.DefaultTargets))
				set.Tokens = set.Tokens[:1]
				set.Tokens[0].Name = name
				path := filepath.Join(t.TempDir(), "x.safetensors")
				checked, err := lora.CheckNames(f, []string{"<fine>", name}), lora.WriteFile(path, set, f)
				if fine := slices.Contains(formats, f); (checked == nil) != fine || (err == nil) != fine {
					t.Fatalf("checked: %v, written: %v", checked, err)
				}
				if err != nil {
					return
				}
				got, err := lora.Open(path, base)
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Tokens) != 1 || got.Tokens[0].Name != name || len(got.Adapters) != len(set.Adapters) || len(got.Unused) > 0 {
					t.Errorf("read %d adapters of %d, tokens %v, unused %q", len(got.Adapters), len(set.Adapters), got.Tokens, got.Unused)
				}
			})
		}
	}
}
