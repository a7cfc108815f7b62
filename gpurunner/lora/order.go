package lora

import (
	"fmt"
	"slices"
	"strings"
)

// Targets says which layers of the UNet a training adapts. The text encoder's
// are its attention's always.
type Targets string

// The targets: projections of the attentions and GEGLU, as the original trainer
// has it by default; and with the residual blocks' convolutions and linear
// layers.
const (
	DefaultTargets  Targets = "default"
	ExtendedTargets Targets = "extended"
)

// ParseTargets reads the text of an option; empty is the default.
func ParseTargets(s string) (Targets, error) {
	switch t := Targets(s); t {
	case "":
		return DefaultTargets, nil
	case DefaultTargets, ExtendedTargets:
		return t, nil
	}
	return "", fmt.Errorf("lora_targets is %q, it can be %s or %s", s, DefaultTargets, ExtendedTargets)
}

func (t Targets) classes() []string {
	if t == ExtendedTargets {
		return []string{"CrossAttention", "GEGLU", "ResnetBlock2D"}
	}
	return []string{"CrossAttention", "GEGLU"}
}

// Targets lists the layers of a part that t names, in the order in which the
// original trainer numbers them.
func (b *Base) Targets(p Part, t Targets) []*Module { return b.ordered(p, legacy, t.classes()) }

// era is which order of a transformer block's layers a numbered file has.
type era int

const (
	legacy era = iota // diffusers up to 0.14: attn1, ff, attn2
	today             // diffusers from 0.15: attn1, attn2, ff
)

func (e era) String() string {
	if e == today {
		return "order of diffusers 0.15 and later (attn1, attn2, ff)"
	}
	return "order of diffusers before 0.15 (attn1, ff, attn2)"
}

// ordered lists the layers of a part that belong to blocks of the given
// classes; of a text encoder always the attention's. Base.Modules is in legacy
// order.
func (b *Base) ordered(p Part, e era, classes []string) []*Module {
	if p != UNet {
		classes = []string{"CLIPAttention"}
	}
	var list []*Module
	for i := range b.Modules {
		if m := &b.Modules[i]; m.Part == p && slices.Contains(classes, m.Class) {
			list = append(list, m)
		}
	}
	if e == today {
		for i, m := range list {
			block, ok := strings.CutSuffix(m.Path, ".ff.net.0.proj")
			if !ok {
				continue
			}
			// The four layers of attn2 follow; ff goes behind them.
			for j := i + 1; j < len(list) && strings.HasPrefix(list[j].Path, block+".attn2."); j++ {
				list[j-1], list[j] = list[j], m
			}
		}
	}
	return list
}
