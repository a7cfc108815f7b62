package lora

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// ParseFormat reads the text of an option; empty is the default, Cloneofsimo.
func ParseFormat(s string) (Format, error) {
	if s == "" {
		return Cloneofsimo, nil
	}
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", fmt.Errorf("format is %q, it can be %s, %s or %s", s, Cloneofsimo, Diffusers, Kohya)
}

// Write writes a set in a layout: factors in float16 with the scale multiplied
// into up, embeddings in float32. The same set gives the same bytes. It fails
// where a number is not finite or beyond float16, and where the layout of
// cloneofsimo/lora has no number for a layer.
func Write(w io.Writer, set *Set, f Format) error {
	entries, meta, err := set.entries(f)
	if err != nil {
		return err
	}
	return safetensors.Write(w, entries, meta)
}

// WriteFile is Write to a file, which appears whole or not at all.
func WriteFile(path string, set *Set, f Format) error {
	entries, meta, err := set.entries(f)
	if err != nil {
		return err
	}
	return safetensors.WriteFile(path, entries, meta)
}

func (s *Set) entries(f Format) ([]safetensors.Entry, map[string]string, error) {
	if len(s.Adapters) == 0 && len(s.Tokens) == 0 {
		return nil, nil, &FileError{File: s.Name, Reason: "there is nothing to write: no adapters and no tokens"}
	}
	if err := s.checkTokens(); err != nil {
		return nil, nil, err
	}
	w := &writing{meta: map[string]string{}}
	w.err = CheckNames(f, s.names())
	switch f {
	case Cloneofsimo:
		w.cloneofsimo(s)
	case Diffusers:
		w.diffusers(s)
	case Kohya:
		w.kohya(s)
	default:
		return nil, nil, fmt.Errorf("adapters cannot be written as %q", f)
	}
	if w.err != nil {
		return nil, nil, fmt.Errorf("write %s as %s: %w", s.Name, f, w.err)
	}
	return w.entries, w.meta, nil
}

func (s *Set) names() (names []string) {
	for _, t := range s.Tokens {
		names = append(names, t.Name)
	}
	return names
}

func (s *Set) checkTokens() error {
	for _, t := range s.Tokens {
		if len(t.Rows) != len(s.Base.Widths) {
			return &FileError{File: s.Name, Reason: fmt.Sprintf("the token %q has vectors for %d text encoders, the base has %d", t.Name, len(t.Rows), len(s.Base.Widths))}
		}
	}
	return nil
}

// writing collects a file's tensors; the first thing that is wrong stays.
type writing struct {
	entries []safetensors.Entry
	meta    map[string]string
	err     error
}

// factors adds an adapter under two keys, in the shapes of PyTorch's layers.
func (w *writing) factors(a *Adapter, downKey, upKey string) {
	up := a.Up
	if a.Scale != 1 {
		up = make([]float32, len(a.Up))
		for i, v := range a.Up {
			up[i] = v * a.Scale
		}
	}
	downShape, upShape := []int{a.Rank, a.Module.In}, []int{a.Module.Out, a.Rank}
	if k := a.Module.Kernel; k > 0 {
		downShape, upShape = append(downShape, k, k), append(upShape, 1, 1)
	}
	w.add(downKey, safetensors.F16, downShape, a.Down)
	w.add(upKey, safetensors.F16, upShape, up)
}

// MaxF16 is where rounding to float16 gives infinity: adapters from here on, in
// size, cannot be written.
const MaxF16 = 65520

func (w *writing) add(key string, t safetensors.DType, shape []int, values []float32) {
	limit := float32(math.MaxFloat32)
	if t == safetensors.F16 {
		limit = MaxF16
	}
	for i, v := range values {
		if w.err != nil {
			return
		}
		if v-v != 0 {
			w.err = fmt.Errorf("element %d of %q is %v", i, key, v)
		} else if t == safetensors.F16 && (v >= limit || v <= -limit) {
			w.err = fmt.Errorf("element %d of %q is %g, beyond what float16 can hold", i, key, v)
		}
	}
	w.entries = append(w.entries, safetensors.FromFloat32s(key, t, shape, values))
}

// rows adds a token's vectors for text encoder e.
func (w *writing) rows(key string, t Token, e int) {
	values := slices.Concat(t.Rows[e]...)
	shape := []int{len(t.Rows[e]), len(values) / max(1, len(t.Rows[e]))}
	if len(t.Rows[e]) == 1 && !strings.HasPrefix(key, bundlePrefix) {
		shape = shape[1:]
	}
	w.add(key, safetensors.F32, shape, values)
}

// cloneofsimo numbers the layers as the original trainer does on the diffusers
// of its day. Layers of a list that the set does not adapt get factors of
// zeros: the numbers must have no gaps.
func (w *writing) cloneofsimo(s *Set) {
	have := map[*Module]*Adapter{}
	for i := range s.Adapters {
		m, ok := s.Base.Module(s.Adapters[i].Module.Part, s.Adapters[i].Module.Path)
		if !ok {
			w.err = fmt.Errorf("%s is no layer of %s", s.Adapters[i].Module, s.Base.describe())
			return
		}
		have[m] = &s.Adapters[i]
	}
	for _, p := range parts {
		if !s.HasPart(p) {
			continue
		}
		list, classes := s.Base.Targets(p, DefaultTargets), `["CrossAttention", "Attention", "GEGLU"]`
		if p != UNet {
			classes = `["CLIPAttention"]`
		} else if slices.ContainsFunc(s.Adapters, func(a Adapter) bool { return a.Module.Class == "ResnetBlock2D" }) {
			list, classes = s.Base.Targets(p, ExtendedTargets), `["CrossAttention", "Attention", "GEGLU", "ResnetBlock2D"]`
		}
		w.meta[string(p)] = classes
		for i, m := range list {
			a := have[m]
			if a == nil {
				a = &Adapter{Module: m, Rank: 1, Down: make([]float32, m.inputs()), Up: make([]float32, m.Out), Scale: 1}
			}
			delete(have, m)
			key := fmt.Sprintf("%s:%d", p, i)
			w.factors(a, key+":down", key+":up")
			w.meta[key+":rank"] = fmt.Sprint(a.Rank)
		}
	}
	if len(have) > 0 {
		var left []string
		for i := range s.Adapters {
			if m := s.Adapters[i].Module; have[s.Base.same(m)] != nil {
				left = append(left, m.String())
			}
		}
		w.err = fmt.Errorf("this layout numbers attention, GEGLU and residual blocks only and has no place for %d other layers: %s", len(left), some(left))
		return
	}
	for _, t := range s.Tokens {
		w.meta[t.Name] = embedFlag
		for e := range t.Rows {
			key := t.Name
			if e > 0 {
				key += secondSuffix
			}
			w.rows(key, t, e)
		}
	}
}

func (b *Base) same(m *Module) *Module {
	own, _ := b.Module(m.Part, m.Path)
	return own
}

// diffusers writes PEFT's names under diffusers' parts, which diffusers reads
// since 0.25; alpha is the rank when nothing else is said. The embeddings lie
// beside them, where diffusers passes over them.
func (w *writing) diffusers(s *Set) {
	w.meta["format"] = "pt"
	for i := range s.Adapters {
		a := &s.Adapters[i]
		w.factors(a, a.Module.String()+".lora_A.weight", a.Module.String()+".lora_B.weight")
	}
	for _, t := range s.Tokens {
		for e := range t.Rows {
			key := ownPrefix + t.Name
			if e > 0 {
				key += secondSuffix
			}
			w.rows(key, t, e)
		}
	}
}

// kohya writes kohya's and AUTOMATIC1111's names with alpha = rank, and the
// least metadata that AUTOMATIC1111 tells the base model by. Embeddings are
// bundled, each token for itself, and all in a row under their names in a row:
// AUTOMATIC1111 reads "<s1><s2>" as one word.
func (w *writing) kohya(s *Set) {
	top, same := 0, true
	for i := range s.Adapters {
		a := &s.Adapters[i]
		name := s.Base.kohyaNames[a.Module.String()]
		if name == "" {
			w.err = fmt.Errorf("%s is no layer of %s", a.Module, s.Base.describe())
			return
		}
		w.factors(a, name+".lora_down.weight", name+".lora_up.weight")
		w.add(name+".alpha", safetensors.F32, []int{}, []float32{float32(a.Rank)})
		same = same && a.Rank == s.Adapters[0].Rank
		top = max(top, a.Rank)
	}
	v2 := "False"
	if s.Base.v2 {
		v2 = "True"
	}
	w.meta["ss_v2"], w.meta["ss_base_model_version"] = v2, s.Base.kohyaVersion
	w.meta["ss_network_module"], w.meta["ss_network_args"] = "networks.lora", "{}"
	if len(s.Adapters) > 0 {
		rank := fmt.Sprint(top)
		if !same {
			rank = "Dynamic"
		}
		w.meta["ss_network_dim"], w.meta["ss_network_alpha"] = rank, rank
	}
	tokens := s.Tokens
	if len(tokens) > 1 {
		tokens = append(slices.Clone(tokens), joined(tokens))
	}
	for _, t := range tokens {
		if !s.Base.xl() {
			w.rows(bundlePrefix+t.Name+".string_to_param.*", t, 0)
			continue
		}
		w.rows(bundlePrefix+t.Name+".clip_l", t, 0)
		w.rows(bundlePrefix+t.Name+".clip_g", t, 1)
	}
}
