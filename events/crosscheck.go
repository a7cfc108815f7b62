package events

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// crossCheck holds an input that passed its schema to the rules that span inputs.
func crossCheck(v CatalogueVersion, input map[string]any) []InvalidField {
	text := func(name string) string {
		if s, ok := input[name].(string); ok {
			return s
		}
		s, _ := v.Schema.Property(name)["default"].(string)
		return s
	}
	number := func(name string) int64 {
		if n, ok := input[name].(json.Number); ok {
			i, _ := Integer(n)
			return i
		}
		i, _ := v.Schema.Property(name)["default"].(int)
		return int64(i)
	}
	fraction := func(name string) float64 {
		if n, ok := input[name].(json.Number); ok {
			f, err := n.Float64()
			if err != nil {
				return 0 // ParseObject lets no such number in
			}
			return f
		}
		f, _ := v.Schema.Property(name)["default"].(float64)
		return f
	}
	bad := func(field, format string, args ...any) []InvalidField {
		return []InvalidField{{"condition", "input." + field, fmt.Sprintf(format, args...)}}
	}
	switch v.Program {
	case ProgramLora:
		if w, h := number("width"), number("height"); w*h > int64(v.Base.MaxPixels) {
			return bad("width", "width times height must be at most %d pixels", v.Base.MaxPixels)
		}
		if _, ok := input["mask"]; ok {
			if _, ok := input["image"]; !ok {
				return bad("mask", "mask needs an image to repaint")
			}
		}
		if _, ok := input["image"]; ok {
			// The sampler's rule: the last share of the steps is run, rounded down.
			steps, share := number("num_inference_steps"), fraction("prompt_strength")
			if int64(float64(steps)*share) < 1 {
				return bad("prompt_strength", "prompt_strength must be at least %s when num_inference_steps is %d, or no step is left to run", leastShare(steps), steps)
			}
		}
		urls := SplitList(text("lora_urls"))
		for _, u := range urls {
			if !ValidURL(u) {
				return bad("lora_urls", "lora_urls must be http, https or data URLs separated by |")
			}
		}
		if len(urls) > MaxConcepts {
			return bad("lora_urls", "lora_urls may name at most %d concepts", MaxConcepts)
		}
		scales, ok := ParseScales(text("lora_scales"))
		if !ok {
			return bad("lora_scales", "lora_scales must be numbers from %d to %d separated by |", -maxScale, maxScale)
		}
		if len(urls) > 0 && len(scales) > 1 && len(scales) != len(urls) {
			return bad("lora_scales", "lora_scales must be one number, or one for each of the %d lora_urls", len(urls))
		}
	case ProgramAdvancedTraining:
		placeholders := SplitList(text("placeholder_tokens"))
		if len(placeholders) == 0 || len(placeholders) > 16 {
			return bad("placeholder_tokens", "placeholder_tokens must name 1 to 16 tokens separated by |")
		}
		if init := SplitList(text("initializer_tokens")); len(init) > 0 && len(init) != len(placeholders) {
			return bad("initializer_tokens", "initializer_tokens must name one for each of the %d placeholder_tokens", len(placeholders))
		}
		if at := text("placeholder_token_at_data"); at != "" {
			if x, _, ok := strings.Cut(at, "|"); !ok || strings.TrimSpace(x) == "" {
				return bad("placeholder_token_at_data", "placeholder_token_at_data must be X|Y: X in a caption becomes Y")
			}
			if text("use_template") != "none" {
				return bad("placeholder_token_at_data", "placeholder_token_at_data needs use_template none")
			}
		}
	}
	return nil
}

// MaxConcepts is how many concepts one picture may draw with.
const MaxConcepts = 16

// SplitList splits a list written with |, trims its parts and drops empty ones.
func SplitList(s string) []string {
	var out []string
	for p := range strings.SplitSeq(s, "|") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// leastShare writes the least share of the steps, in hundredths of percent, that is one step or more.
func leastShare(steps int64) string {
	for n := 10000 / steps; ; n++ {
		if share := float64(n) / 10000; int64(float64(steps)*share) >= 1 {
			return strconv.FormatFloat(share, 'g', -1, 64)
		}
	}
}

// maxScale is how far from 0 a concept's scale may be.
const maxScale = 100

// ParseScales reads lora_scales: finite numbers separated by |, each within ±maxScale.
func ParseScales(s string) ([]float64, bool) {
	var out []float64
	for _, p := range SplitList(s) {
		f, err := strconv.ParseFloat(p, 64)
		if err != nil || !(f >= -maxScale && f <= maxScale) {
			return nil, false
		}
		out = append(out, f)
	}
	return out, len(out) > 0
}
