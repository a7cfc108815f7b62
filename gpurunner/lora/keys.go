package lora

import (
	"regexp"
	"strings"
)

// role is what a tensor is to its layer.
type role string

// The roles of plain LoRA. Others are named as LyCORIS has them: "hada_w1_a".
const (
	down  role = "down"
	up    role = "up"
	mid   role = "mid" // Tucker's core, [r,r,k,k]
	alpha role = "alpha"
	scale role = "scale"
)

// endings tell role and layer apart. The first that fits counts.
var endings = []struct {
	ending string
	role   role
}{
	{".lora_down.weight", down}, {".lora_up.weight", up}, {".lora_mid.weight", mid},
	{".lora.down.weight", down}, {".lora.up.weight", up}, {".lora.alpha", alpha},
	{".lora_linear_layer.down.weight", down}, {".lora_linear_layer.up.weight", up}, {".lora_linear_layer.alpha", alpha},
	{"_lora.down.weight", down}, {"_lora.up.weight", up},
	{".alpha", alpha}, {".scale", scale},
}

// peftKey is PEFT's: an adapter's name may stand before ".weight", which may be
// missing.
var peftKey = regexp.MustCompile(`^(.+)\.lora_(A|B|magnitude_vector)(?:\.[A-Za-z0-9_-]+?)??(?:\.weight)?$`)

// algorithms names, for roles that are not plain LoRA's, what they belong to.
var algorithms = map[string]string{
	"hada_w1_a": loha, "hada_w1_b": loha, "hada_w2_a": loha, "hada_w2_b": loha, "hada_t1": loha, "hada_t2": loha,
	"lokr_w1": lokr, "lokr_w1_a": lokr, "lokr_w1_b": lokr, "lokr_w2": lokr, "lokr_w2_a": lokr, "lokr_w2_b": lokr, "lokr_t2": lokr,
	"diff": full, "diff_b": "full (bias)", "w_norm": "norm", "b_norm": "norm",
	"dora_scale": "DoRA", "on_input": "IA3", "oft_blocks": "OFT", "oft_diag": "OFT", "vera_lambda_d": "VeRA", "vera_lambda_b": "VeRA",
	"a1.weight": "GLoRA", "a2.weight": "GLoRA", "b1.weight": "GLoRA", "b2.weight": "GLoRA", "bm1.weight": "GLoRA", "bm2.weight": "GLoRA",
	"scalar": "trained scalar",
}

const (
	loha = "LoHa"
	lokr = "LoKr"
	full = "full"
)

// split cuts a key into the layer's name and the role.
func split(key string) (name string, r role, ok bool) {
	for _, e := range endings {
		if name, ok := strings.CutSuffix(key, e.ending); ok {
			return name, e.role, name != ""
		}
	}
	if m := peftKey.FindStringSubmatch(key); m != nil {
		switch m[2] {
		case "A":
			return m[1], down, true
		case "B":
			return m[1], up, true
		}
		return m[1], "dora_scale", true
	}
	for i := len(key) - 1; i > 0; i-- {
		if key[i] == '.' && algorithms[key[i+1:]] != "" {
			return key[:i], role(key[i+1:]), true
		}
	}
	return "", "", false
}

// resolve finds the layer that a file of named layers means.
func (b *Base) resolve(name string) (*Module, bool) {
	if i, ok := b.flat[name]; ok {
		return &b.Modules[i], true
	}
	name = strings.TrimPrefix(name, "base_model.model.")
	p := Part("")
	// diffusers 0.22 to 0.24 wrote "unet.unet.".
	for found := true; found; {
		found = false
		for _, prefix := range []struct {
			text string
			part Part
		}{{"unet.", UNet}, {"text_encoder.", TextEncoder}, {"text_encoder_2.", TextEncoder2}, {"model.diffusion_model.", UNet}, {"diffusion_model.", UNet}} {
			if rest, ok := strings.CutPrefix(name, prefix.text); ok {
				name, p, found = rest, prefix.part, true
			}
		}
	}
	if p == "" {
		p = UNet
		if strings.HasPrefix(name, "text_model.") {
			p = TextEncoder
		}
	}
	i, ok := b.dotted[string(p)+"."+name]
	if !ok {
		return nil, false
	}
	return &b.Modules[i], true
}

// takeNamed sorts the keys of a file that names its layers.
func (p *plan) takeNamed(s *source, b *Base, keys []string) error {
	scales, err := readScales(s)
	if err != nil {
		return err
	}
	byModule := map[*Module]*layer{}
	for _, key := range keys {
		name, r, ok := split(key)
		var m *Module
		if ok {
			m, ok = b.resolve(name)
		}
		if !ok {
			p.unused = append(p.unused, key)
			continue
		}
		l := byModule[m]
		if l == nil {
			l = &layer{module: m, keys: map[role]string{}}
			l.metaAlpha, l.rootRank = scales.of(m)
			byModule[m] = l
			p.layers = append(p.layers, l)
		}
		if other := l.keys[r]; other != "" {
			return s.fail("has two tensors for one place: %q and %q are both %s of %s", shorten(other), shorten(key), r, m)
		}
		l.keys[r] = key
	}
	return p.check(s, b)
}

// check sees to it that every layer is whole and of the base's shape.
func (p *plan) check(s *source, b *Base) error {
	for _, l := range p.layers {
		if err := l.check(s, b); err != nil {
			return err
		}
	}
	return nil
}

// algorithm is what the layer's tensors are, and whether that can be read.
func (l *layer) algorithm() (name string, supported bool) {
	name = ""
	for _, r := range sorted(l.keys) {
		switch a := algorithms[string(r)]; {
		case a == "":
			if name == "" && r != alpha && r != scale {
				name = "LoRA"
			}
		case name == "" || name == "LoRA":
			name = a
		case a != name && name != "DoRA":
			name = a
		}
	}
	switch name {
	case "LoRA", loha, lokr, full:
		return name, true
	}
	return name, false
}

func refuse(s *source, layers []*layer) error {
	bad := map[string]int{}
	for _, l := range layers {
		if name, ok := l.algorithm(); !ok {
			bad[name]++
		}
	}
	if len(bad) > 0 {
		return &UnsupportedError{File: s.name, Modules: bad}
	}
	return nil
}
