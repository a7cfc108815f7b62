package lora

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// word is the tensors of one token.
type word struct {
	name string
	keys []string // one a text encoder
}

const (
	// embedFlag marks a token in the metadata of cloneofsimo/lora.
	embedFlag = "<embed>"
	// secondSuffix follows a token where the layout of cloneofsimo/lora, which
	// knows one text encoder, is used for SDXL.
	secondSuffix = ":" + string(TextEncoder2)
	// bundlePrefix is AUTOMATIC1111's for embeddings inside of a LoRA file.
	bundlePrefix = "bundle_emb."
	// ownPrefix is ours for embeddings in diffusers' layout, which has no
	// place for them; diffusers passes over keys with "lora" in them that
	// begin with no part's name.
	ownPrefix = "lora_embeddings."
)

// takeWords finds the embeddings among the keys and returns the other keys.
func (p *plan) takeWords(s *source, b *Base, keys []string) (rest []string, err error) {
	words := map[string]*word{}
	var order []string
	put := func(name string, encoder int, key string) error {
		w := words[name]
		if w == nil {
			w = &word{name: name, keys: make([]string, 2)}
			words[name] = w
			order = append(order, name)
		}
		if w.keys[encoder] != "" {
			return s.fail("has two tensors for the token %q: %q and %q", shorten(name), shorten(w.keys[encoder]), shorten(key))
		}
		w.keys[encoder] = key
		return nil
	}
	for _, key := range keys {
		name, encoder, ok := s.wordOf(key, len(keys))
		if !ok {
			rest = append(rest, key)
			continue
		}
		if err := put(name, encoder, key); err != nil {
			return nil, err
		}
	}
	slices.Sort(order)
	for _, name := range order {
		w := words[name]
		if err := w.check(s, b); err != nil {
			return nil, err
		}
		p.words = append(p.words, w)
	}
	return rest, nil
}

// wordOf tells which token and text encoder a key belongs to; n is the number
// of keys of the file.
func (s *source) wordOf(key string, n int) (name string, encoder int, ok bool) {
	if bundled, ok := strings.CutPrefix(key, bundlePrefix); ok {
		name, vector, ok := strings.Cut(bundled, ".")
		switch {
		case !ok || name == "":
			return "", 0, false
		case strings.HasPrefix(vector, "string_to_param.") || vector == "emb_params" || vector == "clip_l":
			return name, 0, true
		case vector == "clip_g":
			return name, 1, true
		}
		return "", 0, false
	}
	if own, ok := strings.CutPrefix(key, ownPrefix); ok {
		key = own
	} else if s.meta[key] != embedFlag && !strings.HasPrefix(key, "<") {
		// Textual inversion alone: the token is the file's name.
		title := path.Base(filepath.ToSlash(s.name))
		for _, ending := range []string{".safetensors", ".pt", ".bin", ".png"} {
			title = strings.TrimSuffix(title, ending)
		}
		switch {
		case key == "emb_params" || key == "clip_l" || strings.HasPrefix(key, "string_to_param."):
			return title, 0, true
		case key == "clip_g":
			return title, 1, true
		case n == 1 && len(s.shape(key)) <= 2 && !numberedKey.MatchString(key):
			if _, _, factor := split(key); !factor {
				return key, 0, true
			}
		}
		return "", 0, false
	}
	if first, ok := strings.CutSuffix(key, secondSuffix); ok {
		return first, 1, first != ""
	}
	return key, 0, key != ""
}

// rows is the number of vectors in a tensor of shape [width] or [rows,width].
func rows(shape []int, width int) (n int, ok bool) {
	switch {
	case len(shape) == 1 && shape[0] == width:
		return 1, true
	case len(shape) == 2 && shape[1] == width && shape[0] > 0:
		return shape[0], true
	}
	return 0, false
}

func (w *word) check(s *source, b *Base) error {
	if strings.HasSuffix(w.name, secondSuffix) {
		return s.fail("the token %q ends in %q, which marks the vectors of a second text encoder: give it another name", shorten(w.name), secondSuffix)
	}
	count := 0
	for i, key := range w.keys {
		if i >= len(b.Widths) {
			if key != "" {
				return s.mismatch("key %q is for a second text encoder, which %s has not", shorten(key), b.describe())
			}
			continue
		}
		if key == "" {
			return s.mismatch("the token %q has no vectors for text encoder %d of %s", shorten(w.name), i+1, b.describe())
		}
		n, ok := rows(s.shape(key), b.Widths[i])
		if !ok {
			return s.mismatch("key %q has shape %v, but embeddings of %s are [n,%d]", shorten(key), s.shape(key), b.describe(), b.Widths[i])
		}
		if i > 0 && n != count {
			return s.fail("the token %q has %d vectors for the first text encoder and %d for the second", shorten(w.name), count, n)
		}
		count = n
	}
	if count > maxRows {
		return s.fail("the token %q has %d vectors, a prompt has room for %d", shorten(w.name), count, maxRows)
	}
	return nil
}

// maxRows is the most vectors of a token: CLIP's 77 positions less the two that
// begin and end a prompt.
const maxRows = 75

func loadWords(s *source, b *Base, words []*word) ([]Token, error) {
	var tokens []Token
	for _, w := range words {
		t := Token{Name: w.name}
		for i, width := range b.Widths {
			v, err := s.floats(w.keys[i])
			if err != nil {
				return nil, err
			}
			t.Rows = append(t.Rows, slices.Collect(slices.Chunk(v, width)))
		}
		tokens = append(tokens, t)
	}
	return dropJoined(tokens), nil
}

// dropJoined leaves out the token that Write adds to kohya's layout for
// AUTOMATIC1111: all the others in a row, under their names in a row.
func dropJoined(tokens []Token) []Token {
	for i, whole := range tokens {
		others := slices.Delete(slices.Clone(tokens), i, i+1)
		if len(others) < 2 {
			continue
		}
		if j := joined(others); j.Name == whole.Name && slices.EqualFunc(j.Rows, whole.Rows, sameRows) {
			return others
		}
	}
	return tokens
}

// joined is one token of all tokens' vectors, in order of name.
func joined(tokens []Token) Token {
	sorted := slices.SortedFunc(slices.Values(tokens), func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	var j Token
	for _, t := range sorted {
		j.Name += t.Name
		for e, r := range t.Rows {
			if len(j.Rows) <= e {
				j.Rows = append(j.Rows, nil)
			}
			j.Rows[e] = append(j.Rows[e], r...)
		}
	}
	return j
}

func sameRows(a, b [][]float32) bool { return slices.EqualFunc(a, b, slices.Equal) }
