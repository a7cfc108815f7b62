package models

import (
	"slices"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/lora"
)

// TestExpandPrompts holds that a number which no file stands for is told with the input that has it.
func TestExpandPrompts(t *testing.T) {
	one := lora.Join(&lora.Set{Name: "a", Tokens: []lora.Token{{Name: "<a>", Rows: [][][]float32{{{1}}}}}})
	plain := lora.Join(&lora.Set{Name: "b"})
	for _, tt := range []struct {
		name             string
		v                *lora.Vocabulary
		prompt, negative string
		want             [2]string
		dropped          []int
		err              string
	}{
		{name: "Both", v: one, prompt: "<1> x", negative: "no <1>", want: [2]string{"<s0-0> x", "no <s0-0>"}},
		{name: "Dropped", v: plain, prompt: "x", negative: "no <1>", want: [2]string{"x", "no "}, dropped: []int{1}},
		{name: "ErrPrompt", v: one, prompt: "<2>", negative: "<3>", err: "the prompt has <2>, but there is one LoRA file, <1>"},
		{name: "ErrNegative", v: one, prompt: "<1>", negative: "<2>", err: "negative_prompt has <2>, but there is one LoRA file, <1>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prompt, negative, dropped, err := expandPrompts(tt.v.Expand, events.LoraInput{Prompt: tt.prompt, NegativePrompt: tt.negative})
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if got := [2]string{prompt, negative}; err != nil || got != tt.want || !slices.Equal(dropped, tt.dropped) {
				t.Errorf("got %q, dropped %v, %v; want %q, %v", got, dropped, err, tt.want, tt.dropped)
			}
		})
	}
}
