package lora

import (
	"encoding/json"
	"strings"
)

// scales is what a file's metadata say of alpha: PEFT's configuration, as diffusers
// writes it since 0.34 into "lora_adapter_metadata" ("unet.lora_alpha"), or as
// PEFT itself keeps it in adapter_config.json.
type scales struct {
	values map[string]any
}

func readScales(s *source) (scales, error) {
	out := scales{values: s.peft}
	text, ok := s.meta["lora_adapter_metadata"]
	if !ok {
		return out, nil
	}
	if err := json.Unmarshal([]byte(text), &out.values); err != nil {
		return out, s.fail("its metadata lora_adapter_metadata is not valid JSON: %v", err)
	}
	return out, nil
}

// of returns alpha for a module, 0 where nothing is said, and whether the scale
// is alpha/√rank (Kalajdzievski 2023, "rsLoRA").
func (c scales) of(m *Module) (alpha float64, rootRank bool) {
	get := func(name string) any {
		if v, ok := c.values[string(m.Part)+"."+name]; ok {
			return v
		}
		return c.values[name]
	}
	alpha, _ = get("lora_alpha").(float64)
	rootRank, _ = get("use_rslora").(bool)
	if pattern, ok := get("alpha_pattern").(map[string]any); ok {
		longest := -1
		for _, key := range sorted(pattern) {
			v, number := pattern[key].(float64)
			if number && len(key) > longest && (m.Path == key || strings.HasSuffix(m.Path, "."+key)) {
				alpha, longest = v, len(key)
			}
		}
	}
	if !finite(alpha) {
		alpha = 0
	}
	return alpha, rootRank
}
