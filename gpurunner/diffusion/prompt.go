package diffusion

import (
	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// Words are what prompts may contain beside the vocabulary: for each text
// encoder a tokenizer that knows the placeholder tokens and their rows. The
// zero Words are the base model's own.
type Words struct {
	Tokenizers   []*tokenizer.Tokenizer // one a text encoder
	Placeholders []*autodiff.Value      // [E,C] each; nil where there are none
	// Seen, if not nil, is shown the gradient of text encoder i's embedded
	// prompts in backward.
	Seen func(i int, dy *tensor.Tensor)
}

// Tokens are the ids of prompts for each text encoder, [encoder][prompt][T].
type Tokens []clip.Prompts

// Tokenize turns prompts into ids, padded and cut to the encoders' length.
func (m *Model) Tokenize(prompts []string, w Words) Tokens {
	var tokens Tokens
	for i, t := range m.Text {
		words := t.Tokenizer
		if w.Tokenizers != nil {
			words = w.Tokenizers[i]
		}
		var ids clip.Prompts
		for _, prompt := range prompts {
			ids = append(ids, words.EncodePadded(prompt, t.Config.Positions))
		}
		tokens = append(tokens, ids)
	}
	return tokens
}

// Encoded are encoded prompts; the values are the caller's.
type Encoded struct {
	Context *autodiff.Value // [B,T,D]
	Pooled  *autodiff.Value // [B,P], SDXL only
}

// Release gives up both values.
func (e Encoded) Release() { e.Context.Release(); e.Pooled.Release() }

// Encode runs the text encoders: SD 1 and 2 take the last hidden state, SDXL
// the last but one of both encoders side by side and the second one's
// projected pooled state.
func (m *Model) Encode(p *autodiff.Pass, tokens Tokens, w Words) (Encoded, error) {
	var out Encoded
	for i := range m.Text {
		net, err := m.TextNetwork(i)
		if err != nil {
			out.Release()
			return Encoded{}, err
		}
		want := clip.Want{}
		if m.IsXL() {
			want = clip.Want{Skip: 1, Pooled: i == 1}
		}
		one, err := net.Encode(p, tokens[i], w.placeholders(i), want)
		if err != nil {
			out.Release()
			return Encoded{}, err
		}
		if out.Context == nil {
			out.Context = one.Hidden
		} else {
			both := p.Concat(out.Context, one.Hidden)
			out.Context.Release()
			one.Hidden.Release()
			out.Context = both
		}
		if one.Pooled != nil {
			out.Pooled = one.Pooled
		}
	}
	return out, nil
}

func (w Words) placeholders(i int) *clip.Placeholders {
	if w.Placeholders == nil || w.Placeholders[i] == nil {
		return nil
	}
	ph := &clip.Placeholders{Table: w.Placeholders[i]}
	if w.Seen != nil {
		ph.Seen = func(dy *tensor.Tensor) { w.Seen(i, dy) }
	}
	return ph
}
