package lora

import (
	"fmt"
	"strconv"
)

// takeNumbered reads the layout of cloneofsimo/lora: factors under the number
// of their layer, "unet:7:up". What the numbers mean depends on the version of
// diffusers that wrote the file and on what was trained; only the shapes tell.
func (p *plan) takeNumbered(s *source, b *Base, keys []string) error {
	pairs := map[Part]map[int]*layer{}
	for _, key := range keys {
		m := numberedKey.FindStringSubmatch(key)
		if m == nil {
			p.unused = append(p.unused, key)
			continue
		}
		i, err := strconv.Atoi(m[2])
		if err != nil || strconv.Itoa(i) != m[2] {
			p.unused = append(p.unused, key)
			continue
		}
		part := Part(m[1])
		if pairs[part] == nil {
			pairs[part] = map[int]*layer{}
		}
		l := pairs[part][i]
		if l == nil {
			l = &layer{keys: map[role]string{}}
			pairs[part][i] = l
		}
		l.keys[role(m[3])] = key
	}
	for _, part := range parts {
		if len(pairs[part]) == 0 {
			continue
		}
		layers, err := p.number(s, b, part, pairs[part])
		if err != nil {
			return err
		}
		p.layers = append(p.layers, layers...)
	}
	if p.era == "" {
		p.era = "cloneofsimo/lora, text encoder only"
	}
	return nil
}

// number finds the list of layers that the numbers of a part count.
func (p *plan) number(s *source, b *Base, part Part, pairs map[int]*layer) ([]*layer, error) {
	layers := make([]*layer, len(pairs))
	for i := range layers {
		l := pairs[i]
		if l == nil {
			return nil, s.fail("has %d layers under %s, but none is numbered %d", len(pairs), part, i)
		}
		for _, r := range []role{up, down} {
			if l.keys[r] == "" {
				return nil, s.fail("%s:%d:%s is missing", part, i, r)
			}
		}
		layers[i] = l
	}
	var first error
	var counts []int
	for _, c := range b.numberings(part) {
		if len(c.list) != len(layers) {
			if n := len(counts); len(c.list) > 0 && (n == 0 || counts[n-1] != len(c.list)) && len(counts) < 4 {
				counts = append(counts, len(c.list))
			}
			continue
		}
		for i, l := range layers {
			l.module = c.list[i]
		}
		err := (&plan{layers: layers}).check(s, b)
		if err == nil {
			if part == UNet {
				p.era = "cloneofsimo/lora, " + c.text
			}
			return layers, nil
		}
		if first == nil || !isMismatch(first) {
			first = err
		}
	}
	if first == nil {
		first = s.mismatch("it has %d numbered layers of %s, %s has %s", len(layers), part, b.describe(), countsText(counts))
	}
	return nil, first
}

// numbering is a list of layers that numbers may count, and what it is called.
type numbering struct {
	list []*Module
	text string
}

// numberings are the lists that versions of cloneofsimo/lora counted a part by,
// the likeliest first.
func (b *Base) numberings(part Part) (all []numbering) {
	if part != UNet {
		return []numbering{{b.ordered(part, legacy, nil), ""}}
	}
	for _, e := range []era{legacy, today} {
		for _, c := range []struct {
			classes []string
			text    string
		}{
			{[]string{"CrossAttention", "GEGLU"}, "attention and GEGLU"},
			{[]string{"CrossAttention"}, "attention only, before 2022-12-21"},
			{[]string{"CrossAttention", "GEGLU", "ResnetBlock2D"}, "extended: attention, GEGLU and residual blocks"},
			{[]string{"CrossAttention", "ResnetBlock2D"}, "attention and residual blocks"},
		} {
			all = append(all, numbering{b.ordered(UNet, e, c.classes), c.text + "; " + e.String()})
		}
	}
	return all
}

func countsText(counts []int) string {
	switch len(counts) {
	case 0:
		return "none"
	case 1:
		return strconv.Itoa(counts[0])
	}
	text := strconv.Itoa(counts[0])
	for _, n := range counts[1 : len(counts)-1] {
		text += fmt.Sprintf(", %d", n)
	}
	return fmt.Sprintf("%s or %d", text, counts[len(counts)-1])
}
