package lora_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// A broken file of a base that is known, or the caller's, is told what is broken,
// not that it does not fit another.
func TestReasonOfTheNearest(t *testing.T) {
	known := lora.Known()
	mine := smallBase(t, "sd15-tiny")
	for _, base := range []*lora.Base{mine, known[1], known[2]} {
		for _, f := range lora.Formats {
			set := randomSet(base, 2, base.Targets(lora.UNet, ""))
			path := filepath.Join(t.TempDir(), "x.safetensors")
			if err := lora.WriteFile(path, set, f); err != nil {
				t.Fatal(err)
			}
			whole := entriesOf(t, path)
			factor := func(e safetensors.Entry, names ...string) bool {
				return slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(e.Name, n) })
			}
			up := slices.IndexFunc(whole, func(e safetensors.Entry) bool {
				return factor(e, "unet:0:up", ".lora_B.weight", ".lora_up.weight")
			})
			down := slices.IndexFunc(whole, func(e safetensors.Entry) bool {
				return factor(e, "unet:0:down", ".lora_A.weight", ".lora_down.weight")
			})
			for _, tt := range []struct {
				name, want string
				change     func(e []safetensors.Entry) []safetensors.Entry
			}{
				{"NoUp", "up", func(e []safetensors.Entry) []safetensors.Entry { return slices.Delete(e, up, up+1) }},
				{"RankZero", "the impossible shape", func(e []safetensors.Entry) []safetensors.Entry {
					e[down] = tensor32(e[down].Name, 0, e[down].Shape[1])
					return e
				}},
				{"LongToken", "a prompt has room for 75", func(e []safetensors.Entry) []safetensors.Entry {
					for i := range e {
						if strings.Contains(e[i].Name, "<s1>") {
							e[i] = tensor32(e[i].Name, 80, e[i].Shape[len(e[i].Shape)-1])
						}
					}
					return e
				}},
			} {
				t.Run("Err"+tt.name+"_"+base.Name+"_"+string(f), func(t *testing.T) {
					broken := write(t, tt.change(slices.Clone(whole)), metadataOf(t, path))
					_, err := lora.OpenAny(broken, mine)
					if err == nil || strings.Contains(err.Error(), "fits none") || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("got %v, want %q", err, tt.want)
					}
				})
			}
		}
	}
}

func entriesOf(t *testing.T, path string) (entries []safetensors.Entry) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for _, name := range f.Names() {
		x, _ := f.Lookup(name)
		entries = append(entries, safetensors.FromTensor(x))
	}
	return entries
}

func metadataOf(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return f.Metadata()
}
