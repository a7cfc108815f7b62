package lora

import (
	"regexp"
	"strings"
)

var (
	numberedKey  = regexp.MustCompile(`^(unet|text_encoder|text_encoder_2):([0-9]{1,6}):(up|down)$`)
	numberedRank = regexp.MustCompile(`^(unet|text_encoder|text_encoder_2):[0-9]+:rank$`)
)

// detect tells layouts apart by their keys. era says more in words.
func detect(keys []string) (f Format, era string) {
	var processor, underscored, doubled, named, raw, kohya, sgm, lycoris bool
	for _, k := range keys {
		switch {
		case numberedKey.MatchString(k):
			return Cloneofsimo, ""
		case strings.HasPrefix(k, "lora_unet_"), strings.HasPrefix(k, "lora_te"):
			kohya = true
			sgm = sgm || strings.HasPrefix(k, "lora_unet_input_blocks") || strings.HasPrefix(k, "lora_unet_output_blocks") || strings.HasPrefix(k, "lora_unet_middle_block")
		case strings.HasPrefix(k, "lycoris_"):
			lycoris = true
		case strings.Contains(k, ".processor."):
			processor = true
		case strings.Contains(k, "_lora.down.") || strings.Contains(k, "_lora.up."):
			underscored = true
		case strings.HasPrefix(k, "unet.unet."):
			doubled = true
		case strings.Contains(k, ".lora.down.") || strings.Contains(k, ".lora_linear_layer."):
			named = true
		case strings.Contains(k, ".lora_A") || strings.Contains(k, ".lora_B"):
			raw = true
		}
	}
	switch {
	case kohya && sgm:
		return Kohya, "kohya, CompVis names"
	case kohya:
		return Kohya, "kohya, diffusers names"
	case lycoris:
		return Kohya, "LyCORIS"
	case processor && !hasPrefix(keys, "unet."):
		return Diffusers, "diffusers 0.12 to 0.14 (attention processors)"
	case processor || underscored:
		return Diffusers, "diffusers 0.15 to 0.21 (attention processors)"
	case doubled:
		return Diffusers, "diffusers 0.22 to 0.24"
	case named:
		return Diffusers, "diffusers 0.26 and later"
	case raw:
		return Diffusers, "PEFT"
	}
	return Embedding, ""
}

func hasPrefix(keys []string, prefix string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}
