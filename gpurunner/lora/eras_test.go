package lora_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// naming writes a set's adapters by a function of layer and factor.
func naming(set *lora.Set, key func(m *lora.Module, factor string) string) []safetensors.Entry {
	var entries []safetensors.Entry
	for _, a := range set.Adapters {
		k := max(1, a.Module.Kernel)
		downShape, upShape := []int{a.Rank, a.Module.In}, []int{a.Module.Out, a.Rank}
		if a.Module.Kernel > 0 {
			downShape, upShape = append(downShape, k, k), append(upShape, 1, 1)
		}
		entries = append(entries,
			safetensors.FromFloat32s(key(a.Module, "down"), safetensors.F16, downShape, a.Down),
			safetensors.FromFloat32s(key(a.Module, "up"), safetensors.F16, upShape, a.Up))
	}
	return entries
}

func write(t testing.TB, entries []safetensors.Entry, meta map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.safetensors")
	if err := safetensors.WriteFile(path, entries, meta); err != nil {
		t.Fatal(err)
	}
	return path
}

func processor(m *lora.Module, factor string) string {
	block, layer := cutLast(strings.TrimSuffix(m.Path, ".0"))
	return fmt.Sprintf("%s.processor.%s_lora.%s.weight", block, layer, factor)
}

func cutLast(path string) (string, string) {
	i := strings.LastIndex(path, ".")
	return path[:i], path[i+1:]
}

var peft = map[string]string{"down": "A", "up": "B"}

// Every naming that the field has used finds the same layers.
func TestEras(t *testing.T) {
	sd, xl := smallBase(t, "sd15-tiny"), smallBase(t, "sdxl-tiny")
	u, _ := configs(t, sdDir(t, "sdxl-tiny"))
	attention := func(b *lora.Base) []*lora.Module {
		return slices.DeleteFunc(b.Targets(lora.UNet, ""), func(m *lora.Module) bool { return m.Class != "CrossAttention" })
	}
	withText := func(list []*lora.Module, b *lora.Base) []*lora.Module {
		return append(list, b.Targets(lora.TextEncoder, "")...)
	}
	number := func(list []*lora.Module) func(*lora.Module, string) string {
		return func(m *lora.Module, factor string) string {
			return fmt.Sprintf("%s:%d:%s", m.Part, slices.Index(list, m), factor)
		}
	}
	today := todayOrder(sd.Targets(lora.UNet, lora.DefaultTargets))
	todayExtended := todayOrder(sd.Targets(lora.UNet, lora.ExtendedTargets))
	for _, tt := range []struct {
		name    string
		base    *lora.Base
		modules []*lora.Module
		key     func(m *lora.Module, factor string) string
		format  lora.Format
		era     string
	}{
		{"CloneofsimoToday", sd, today, number(today), lora.Cloneofsimo, "0.15 and later"},
		{"CloneofsimoTodayExtended", sd, todayExtended, number(todayExtended), lora.Cloneofsimo, "extended"},
		{"CloneofsimoNoGEGLU", sd, attention(sd), number(attention(sd)), lora.Cloneofsimo, "before 2022-12-21"},
		{"Diffusers0.12", sd, attention(sd), processor, lora.Diffusers, "0.12 to 0.14"},
		{"Diffusers0.15", sd, withText(attention(sd), sd), func(m *lora.Module, f string) string {
			if m.Part == lora.UNet {
				return "unet." + processor(m, f)
			}
			block, layer := cutLast(m.Path)
			return fmt.Sprintf("text_encoder.%s.to_%s_lora.%s.weight", block, strings.TrimSuffix(layer, "_proj"), f)
		}, lora.Diffusers, "0.15 to 0.21"},
		{"Diffusers0.20", sd, withText(attention(sd), sd), func(m *lora.Module, f string) string {
			if m.Part == lora.UNet {
				return "unet." + processor(m, f)
			}
			return fmt.Sprintf("text_encoder.%s.lora_linear_layer.%s.weight", m.Path, f)
		}, lora.Diffusers, "0.15 to 0.21"},
		{"Diffusers0.22", sd, attention(sd), func(m *lora.Module, f string) string {
			return fmt.Sprintf("unet.unet.%s.lora.%s.weight", m.Path, f)
		}, lora.Diffusers, "0.22 to 0.24"},
		{"Diffusers0.25", xl, allTargets(xl, ""), func(m *lora.Module, f string) string {
			return fmt.Sprintf("%s.lora_%s.weight", m, peft[f])
		}, lora.Diffusers, "PEFT"},
		{"Diffusers0.26", xl, allTargets(xl, ""), func(m *lora.Module, f string) string {
			switch {
			case m.Part != lora.UNet:
				return fmt.Sprintf("%s.lora_linear_layer.%s.weight", m, f)
			case m.Class == "CrossAttention":
				return fmt.Sprintf("%s.lora.%s.weight", m, f)
			}
			return fmt.Sprintf("%s.lora_%s.weight", m, peft[f])
		}, lora.Diffusers, "0.26"},
		{"Transformers5", sd, sd.Targets(lora.TextEncoder, ""), func(m *lora.Module, f string) string {
			return fmt.Sprintf("text_encoder.%s.lora_%s.weight", strings.TrimPrefix(m.Path, "text_model."), peft[f])
		}, lora.Diffusers, "PEFT"},
		{"PEFTFolder", sd, everythingOf(sd, lora.UNet), func(m *lora.Module, f string) string {
			return fmt.Sprintf("base_model.model.%s.lora_%s.default.weight", m.Path, peft[f])
		}, lora.Diffusers, "PEFT"},
		{"PEFTBare", sd, everythingOf(sd, lora.TextEncoder), func(m *lora.Module, f string) string {
			return fmt.Sprintf("%s.lora_%s", m.Path, peft[f])
		}, lora.Diffusers, "PEFT"},
		{"ComfyUI", xl, everythingOf(xl, lora.UNet), func(m *lora.Module, f string) string {
			return fmt.Sprintf("diffusion_model.%s.lora_%s.weight", u.CompVis(m.Path), peft[f])
		}, lora.Diffusers, "PEFT"},
		{"KohyaDiffusersNames", xl, everythingOf(xl, lora.UNet), func(m *lora.Module, f string) string {
			return fmt.Sprintf("lora_unet_%s.lora_%s.weight", strings.ReplaceAll(m.Path, ".", "_"), f)
		}, lora.Kohya, "diffusers names"},
		{"KohyaCompVisNames", xl, everything(xl), func(m *lora.Module, f string) string {
			prefix, name := map[lora.Part]string{lora.UNet: "lora_unet_", lora.TextEncoder: "lora_te1_", lora.TextEncoder2: "lora_te2_"}[m.Part], m.Path
			if m.Part == lora.UNet {
				name = u.CompVis(m.Path)
			}
			return fmt.Sprintf("%s%s.lora_%s.weight", prefix, strings.ReplaceAll(name, ".", "_"), f)
		}, lora.Kohya, "CompVis names"},
		{"DiffusersToKohya", sd, everythingOf(sd, lora.TextEncoder), func(m *lora.Module, f string) string {
			return fmt.Sprintf("lora_te1_%s.lora_%s.weight", strings.ReplaceAll(m.Path, ".", "_"), f)
		}, lora.Kohya, "kohya"},
		{"LyCORISWrapper", sd, everythingOf(sd, lora.UNet), func(m *lora.Module, f string) string {
			return fmt.Sprintf("lycoris_%s.lora_%s.weight", strings.ReplaceAll(m.Path, ".", "_"), f)
		}, lora.Kohya, "LyCORIS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := randomSet(tt.base, 2, tt.modules)
			set.Tokens = nil
			got, err := lora.Open(write(t, naming(set, tt.key), nil), tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if got.Format != tt.format || !strings.Contains(got.Era, tt.era) || len(got.Unused) > 0 {
				t.Errorf("format %s, era %q, unused %v; want %s, %q", got.Format, got.Era, got.Unused, tt.format, tt.era)
			}
			same(t, got, set)
		})
	}
}

// todayOrder is the order of diffusers 0.15 and later: ff behind attn2.
func todayOrder(legacy []*lora.Module) []*lora.Module {
	rank := func(m *lora.Module) string {
		block, layer, ok := strings.Cut(m.Path, ".transformer_blocks.")
		if !ok {
			return ""
		}
		if strings.Contains(layer, ".ff.") {
			return block + ".b"
		}
		return block + ".a"
	}
	list := slices.Clone(legacy)
	for start := 0; start < len(list); {
		end := start + 1
		for end < len(list) && rank(list[start]) != "" && blockOf(list[end]) == blockOf(list[start]) {
			end++
		}
		slices.SortStableFunc(list[start:end], func(a, b *lora.Module) int { return strings.Compare(rank(a), rank(b)) })
		start = end
	}
	return list
}

// blockOf is the path of the transformer block around a layer.
func blockOf(m *lora.Module) string {
	block, rest, _ := strings.Cut(m.Path, ".transformer_blocks.")
	number, _, _ := strings.Cut(rest, ".")
	return block + "." + number
}

func everythingOf(base *lora.Base, p lora.Part) []*lora.Module {
	return slices.DeleteFunc(everything(base), func(m *lora.Module) bool { return m.Part != p })
}

// Each scale rule, by the factor that it puts in front of up·down.
func TestScales(t *testing.T) {
	base := smallBase(t, "sd15-tiny")
	module := base.Targets(lora.UNet, "")[0]
	set := randomSet(base, 4, []*lora.Module{module})
	peftKey := func(m *lora.Module, f string) string { return fmt.Sprintf("unet.%s.lora_%s.weight", m.Path, peft[f]) }
	scalar := func(name string, v float32) safetensors.Entry {
		return safetensors.FromFloat32s(name, safetensors.F32, nil, []float32{v})
	}
	for _, tt := range []struct {
		name  string
		extra []safetensors.Entry
		meta  map[string]string
		want  float32
	}{
		{"None", nil, nil, 1},
		{"Alpha", []safetensors.Entry{scalar("unet."+module.Path+".alpha", 2)}, nil, 0.5},
		{"AlphaZero", []safetensors.Entry{scalar("unet."+module.Path+".alpha", 0)}, nil, 0},
		{"ScaleBeforeAlpha", []safetensors.Entry{scalar("unet."+module.Path+".alpha", 2), scalar("unet."+module.Path+".scale", 3)}, nil, 3},
		{"Metadata", nil, map[string]string{"lora_adapter_metadata": `{"unet.r":4,"unet.lora_alpha":8}`}, 2},
		{"MetadataFlat", nil, map[string]string{"lora_adapter_metadata": `{"lora_alpha":8}`}, 2},
		{"MetadataOtherPart", nil, map[string]string{"lora_adapter_metadata": `{"text_encoder.lora_alpha":8}`}, 1},
		{"MetadataPattern", nil, map[string]string{"lora_adapter_metadata": `{"unet.lora_alpha":8,"unet.alpha_pattern":{"to_q":16,"attn1.to_q":12,"to_k":1}}`}, 3},
		{"RsLoRA", nil, map[string]string{"lora_adapter_metadata": `{"unet.lora_alpha":8,"unet.use_rslora":true}`}, 4},
		{"AlphaBeforeMetadata", []safetensors.Entry{scalar("unet."+module.Path+".alpha", 2)}, map[string]string{"lora_adapter_metadata": `{"unet.lora_alpha":8}`}, 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := lora.Open(write(t, append(naming(set, peftKey), tt.extra...), tt.meta), base)
			if err != nil {
				t.Fatal(err)
			}
			if s := got.Adapters[0].Scale; s != tt.want {
				t.Errorf("got scale %v, want %v", s, tt.want)
			}
		})
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
