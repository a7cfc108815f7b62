package lora_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
)

func TestVocabulary(t *testing.T) {
	row := func(v float32) []float32 { return []float32{v} }
	set := func(name string, tokens ...lora.Token) *lora.Set { return &lora.Set{Name: name, Tokens: tokens} }
	token := func(name string, values ...float32) lora.Token {
		rows := [][]float32{}
		for _, v := range values {
			rows = append(rows, row(v))
		}
		return lora.Token{Name: name, Rows: [][][]float32{rows}}
	}
	two := set("a", token("<s2>", 2), token("<s1>", 1)) // sorted by name when joined
	none := set("b")
	neon := set("c", token("<neon>", 3, 4))
	for _, tt := range []struct {
		name, prompt, want string
		sets               []*lora.Set
		dropped            []int
		err                string
	}{
		{name: "OK", sets: []*lora.Set{two, neon}, prompt: "a <1> riding <2>, on mars", want: "a <s0-0><s0-1> riding <s1-0><s1-1>, on mars"},
		{name: "Twice", sets: []*lora.Set{neon}, prompt: "<1><1>", want: "<s0-0><s0-1><s0-0><s0-1>"},
		{name: "NoReference", sets: []*lora.Set{two}, prompt: "a cat", want: "a cat"},
		{name: "OwnName", sets: []*lora.Set{two, neon}, prompt: "a <neon> <s2>", want: "a <s1-0><s1-1> <s0-1>"},
		{name: "OwnNameOfTwo", sets: []*lora.Set{two, two}, prompt: "a <s1>", want: "a <s1>"},
		{name: "Dropped", sets: []*lora.Set{two, none}, prompt: "<1> in the style of <2>, <2>", want: "<s0-0><s0-1> in the style of , ", dropped: []int{2}},
		{name: "NoFiles", prompt: "a photo of <1> riding a horse on mars", want: "a photo of <1> riding a horse on mars", dropped: []int{1}},
		{name: "NoFilesTwice", prompt: "<2> and <1>, <2> <99999999999999999999>", want: "<2> and <1>, <2> <99999999999999999999>", dropped: []int{2, 1}},
		{name: "Other", sets: []*lora.Set{two}, prompt: "1 < 2 > 0 <b>", want: "1 < 2 > 0 <b>"},
		{name: "ErrThird", sets: []*lora.Set{two, neon}, prompt: "<1> <3>", err: "has <3>, but there are 2 LoRA files, <1> to <2>"},
		{name: "ErrSecond", sets: []*lora.Set{two}, prompt: "<2>", err: "has <2>, but there is one LoRA file, <1>"},
		{name: "ErrZero", sets: []*lora.Set{two}, prompt: "<0>", err: "has <0>"},
		{name: "ErrHuge", sets: []*lora.Set{two}, prompt: "<99999999999999999999>", err: "there is one LoRA file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, dropped, err := lora.Join(tt.sets...).Expand(tt.prompt)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want || !slices.Equal(dropped, tt.dropped) {
				t.Errorf("got %q, dropped %v, %v; want %q, %v", got, dropped, err, tt.want, tt.dropped)
			}
		})
	}
	v := lora.Join(two, none, neon)
	if want := []string{"<s0-0>", "<s0-1>", "<s2-0>", "<s2-1>"}; !slices.Equal(v.Names, want) {
		t.Errorf("got names %q, want %q", v.Names, want)
	}
	for i, row := range v.Rows[0] {
		if row[0] != float32(i+1) {
			t.Errorf("row %d is %v", i, row)
		}
	}
	if v.File(2) != "b" {
		t.Errorf("file 2 is %q", v.File(2))
	}
}

func FuzzExpand(f *testing.F) {
	for _, prompt := range []string{"a <1> and <2>", "<s1>", "<<1>>", "<3>", "<", "<1", "\xff<1>"} {
		f.Add(prompt)
	}
	rows := [][][]float32{{{1}}}
	v := lora.Join(&lora.Set{Tokens: []lora.Token{{Name: "<s1>", Rows: rows}}}, &lora.Set{})
	f.Fuzz(func(t *testing.T, prompt string) {
		got, _, err := v.Expand(prompt)
		if err == nil && !strings.Contains(prompt, "<") && got != prompt {
			t.Errorf("%q became %q", prompt, got)
		}
	})
}
