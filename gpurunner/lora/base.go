package lora

import (
	"fmt"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Part is a network of a base model. Its text is the folder's name in a
// diffusers model, and begins keys of adapter files.
type Part string

// The parts that adapters sit in. TextEncoder2 is SDXL's.
const (
	UNet         Part = "unet"
	TextEncoder  Part = "text_encoder"
	TextEncoder2 Part = "text_encoder_2"
)

var parts = []Part{UNet, TextEncoder, TextEncoder2}

// Module is a layer that an adapter can sit on.
type Module struct {
	Part    Part
	Path    string // in diffusers and transformers 4: "down_blocks.0.…", "text_model.encoder.…"
	Class   string // of the block around it; see nn.Module
	In, Out int
	Kernel  int // side of a convolution's kernel, 0 for a linear layer
}

func (m *Module) String() string { return string(m.Part) + "." + m.Path }

// inputs is the number of elements that one row of the down factor has.
func (m *Module) inputs() int { return m.In * max(1, m.Kernel*m.Kernel) }

// Base is the layers of a base model, against which files are read.
type Base struct {
	Name    string // for messages: "SD 1"
	Modules []Module
	// Widths are the sizes of the text encoders' embeddings, one an encoder.
	Widths []int

	kohyaVersion string // ss_base_model_version
	v2           bool
	compVis      func(path string) string
	index        map[string]int    // part.path → index in Modules
	dotted       map[string]int    // names of diffusers files → index
	flat         map[string]int    // names of kohya files → index
	kohyaNames   map[string]string // part.path → name to write
}

// NewBase lists the layers of the model that consists of a UNet and one or two
// text encoders.
func NewBase(name string, u unet.Config, encoders ...clip.Config) *Base {
	b := &Base{Name: name, compVis: u.CompVis, kohyaVersion: "sd_v1"}
	b.add(UNet, unet.Outline(u).Modules())
	for i, c := range encoders {
		b.add(parts[1+i], clip.Outline(c).Modules())
		b.Widths = append(b.Widths, c.HiddenSize)
	}
	switch {
	case len(encoders) > 1:
		b.kohyaVersion = "sdxl_base_v1-0"
	case u.LinearProjection:
		b.kohyaVersion, b.v2 = "sd_v2", true
	}
	b.makeTables()
	return b
}

func (b *Base) add(p Part, modules []nn.Module) {
	for _, m := range modules {
		in, out, kernel := m.Size()
		b.Modules = append(b.Modules, Module{Part: p, Path: m.Path, Class: m.Class, In: in, Out: out, Kernel: kernel})
	}
}

// Module finds a layer by part and path.
func (b *Base) Module(p Part, path string) (*Module, bool) {
	i, ok := b.index[string(p)+"."+path]
	if !ok {
		return nil, false
	}
	return &b.Modules[i], true
}

func (b *Base) xl() bool { return len(b.Widths) > 1 }

// encoderPart is the part of text encoder i.
func encoderPart(i int) Part { return parts[1+i] }

// makeTables derives every name that files give a layer from the layer's path.
// The reverse is not possible: "_" stands for "." and for itself.
func (b *Base) makeTables() {
	b.index, b.dotted, b.flat, b.kohyaNames = map[string]int{}, map[string]int{}, map[string]int{}, map[string]string{}
	for i := range b.Modules {
		m := &b.Modules[i]
		b.index[m.String()] = i
		b.dotted[m.String()] = i
		if m.Part == UNet {
			b.nameUNet(i, m)
		} else {
			b.nameEncoder(i, m)
		}
	}
}

func (b *Base) nameUNet(i int, m *Module) {
	names := []string{m.Path}
	if other := b.compVis(m.Path); other != "" {
		names = append(names, other)
		b.dotted["unet."+other] = i
	}
	// Attention processors, diffusers 0.12 to 0.21: "attn1.processor.to_q",
	// and "to_out" for "to_out.0".
	if block, layer, ok := cutLast(strings.TrimSuffix(m.Path, ".0"), "."); ok && m.Class == "CrossAttention" {
		b.dotted["unet."+block+".processor."+layer] = i
	}
	for _, name := range names {
		for _, prefix := range []string{"lora_unet_", "lycoris_", "lycoris_unet_"} {
			b.flat[prefix+flatten(name)] = i
		}
	}
	b.kohyaNames[m.String()] = "lora_unet_" + flatten(names[0])
	if b.xl() {
		b.kohyaNames[m.String()] = "lora_unet_" + flatten(names[len(names)-1])
	}
}

func (b *Base) nameEncoder(i int, m *Module) {
	short := strings.TrimPrefix(m.Path, "text_model.") // transformers 5
	prefixes := []string{"lora_te_", "lora_te1_", "lycoris_"}
	if m.Part == TextEncoder2 {
		prefixes = []string{"lora_te2_"}
	}
	for _, name := range []string{m.Path, short} {
		b.dotted[string(m.Part)+"."+name] = i
		for _, p := range prefixes {
			b.flat[p+flatten(name)] = i
		}
		// diffusers 0.15 to 0.19: "self_attn.to_q" for "self_attn.q_proj".
		if block, layer, ok := cutLast(name, "."); ok && m.Class == "CLIPAttention" {
			b.dotted[string(m.Part)+"."+block+".to_"+strings.TrimSuffix(layer, "_proj")] = i
		}
	}
	prefix := prefixes[0]
	if b.xl() && m.Part == TextEncoder {
		prefix = "lora_te1_"
	}
	b.kohyaNames[m.String()] = prefix + flatten(m.Path)
}

func flatten(path string) string { return strings.ReplaceAll(path, ".", "_") }

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (b *Base) describe() string {
	if b.Name == "" {
		return "the base model"
	}
	return fmt.Sprintf("the base model %s", b.Name)
}
