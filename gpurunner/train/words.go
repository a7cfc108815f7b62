package train

import (
	"fmt"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// placeholders are the trained tokens: their names, the tokenizers that know
// them, and their rows on the host.
type placeholders struct {
	names      []string
	tokenizers []*tokenizer.Tokenizer
	rows       [][]float32 // [encoder][token·width], row-major
	widths     []int
}

// newPlaceholders adds the tokens to copies of the model's tokenizers and makes
// the rows that training begins with.
func newPlaceholders(m *diffusion.Model, o Options, src source) (*placeholders, error) {
	names, begin, err := o.tokens()
	if err != nil {
		return nil, err
	}
	w := &placeholders{names: names}
	for e, text := range m.Text {
		tok, width := text.Tokenizer.Clone(), text.Config.HiddenSize
		w.tokenizers, w.widths = append(w.tokenizers, tok), append(w.widths, width)
		var rows []float32
		for i, name := range names {
			if _, known := text.Tokenizer.TokenID(name); known {
				return nil, fmt.Errorf("placeholder_tokens: the base model knows the word %q already; choose another name", name)
			}
			id, err := tok.AddToken(name)
			if err != nil {
				return nil, fmt.Errorf("placeholder_tokens: %w", err)
			}
			if id != text.Config.VocabSize+i {
				return nil, fmt.Errorf("the %s has %d rows for a vocabulary of %d words; tokens cannot be added to it", text.Part, text.Config.VocabSize, text.Tokenizer.Len())
			}
			row, err := w.start(m, e, begin[i], width, src.at(Inversion, streamRows, i, e))
			if err != nil {
				return nil, err
			}
			rows = append(rows, row...)
		}
		w.rows = append(w.rows, rows)
	}
	return w, nil
}

// start is the row that a token begins as.
func (w *placeholders) start(m *diffusion.Model, encoder int, text string, width int, d *draws) ([]float32, error) {
	sigma, random, err := parseInitializer(text)
	switch {
	case err != nil:
		return nil, err
	case random && sigma == 0:
		return make([]float32, width), nil
	case random:
		row := d.Normals(width)
		for i := range row {
			row[i] *= float32(sigma)
		}
		return row, nil
	}
	t := m.Text[encoder].Tokenizer
	ids := t.Encode(text)
	if len(ids) >= 2 && ids[0] == t.BOS() && ids[len(ids)-1] == t.EOS() {
		ids = ids[1 : len(ids)-1]
	}
	if len(ids) != 1 {
		return nil, fmt.Errorf("initializer_tokens: %q is %d tokens to the base model, it must be one: take a shorter or more common word", text, len(ids))
	}
	net, err := m.TextNetwork(encoder)
	if err != nil {
		return nil, err
	}
	return net.Embedding(ids[0])
}

// begin replaces the rows that training begins with.
func (w *placeholders) begin(f feeder) {
	if init, ok := f.(interface{ rows() []float32 }); ok {
		w.rows[0] = init.rows()
	}
}

// tokens are the rows as files keep them.
func (w *placeholders) tokens() []lora.Token {
	var out []lora.Token
	for i, name := range w.names {
		t := lora.Token{Name: name}
		for e, width := range w.widths {
			t.Rows = append(t.Rows, [][]float32{w.rows[e][i*width : (i+1)*width]})
		}
		out = append(out, t)
	}
	return out
}

// concept is the tokens in a row, as prompts have them.
func (w *placeholders) concept() string { return strings.Join(w.names, "") }
