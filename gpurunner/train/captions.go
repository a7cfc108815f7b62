package train

import (
	"strings"

	"github.com/lowrank/lowrank/gpurunner/dataset"
)

// captioner makes prompts of pictures.
type captioner struct {
	sentences []string // of a template; empty: the pictures' own captions
	concept   string   // the placeholder tokens in a row
	from, to  string   // placeholder_token_at_data
	pattern   string
}

func newCaptioner(o Options) captioner {
	names, _, _ := o.tokens() // Validate has seen them
	c := captioner{concept: strings.Join(names, ""), pattern: o.CaptionPattern}
	c.sentences = dataset.Template(o.UseTemplate).Sentences()
	c.from, c.to, _ = strings.Cut(o.PlaceholderTokenAtData, "|")
	return c
}

// prompt is a picture's prompt; pick draws a number below n to choose a
// sentence.
func (c captioner) prompt(p *dataset.Picture, pick func(n int) int) string {
	if len(c.sentences) > 0 {
		return dataset.Fill(c.sentences[pick(len(c.sentences))], c.concept)
	}
	text := p.Caption
	if c.from != "" {
		text = strings.ReplaceAll(text, c.from, c.to)
	}
	if c.pattern != "" {
		text = dataset.Fill(strings.ReplaceAll(c.pattern, "{concept}", c.concept), text)
	}
	return text
}
