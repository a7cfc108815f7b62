package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Mode is whose ids a tokenizer gives.
type Mode int

const (
	// Current is today's transformers.
	Current Mode = iota
	// Original is the tokenizer of early 2023, which repairs text first (see the package's comment).
	Original
)

// Tokenizer turns text into ids. Encoding and decoding may run in several goroutines at once; adding tokens
// must not run beside them.
type Tokenizer struct {
	bpe                    *bpe
	mode                   Mode
	bos, eos, pad, unknown int
	maxLength              int
	special                addedTokens // found in the text as it was given
	added                  addedTokens // Current: found in the normalized text
	addedRaw               addedTokens // Original: found as they were given
	addedText              []string    // by id - bpe.size
}

// BOS is the id that every sequence begins with.
func (t *Tokenizer) BOS() int { return t.bos }

// EOS is the id that ends a sequence.
func (t *Tokenizer) EOS() int { return t.eos }

// Pad is the id that fills a sequence up: EOS for most models, 0 for SD 2.x.
func (t *Tokenizer) Pad() int { return t.pad }

// MaxLength is the length of a sequence that the configuration gives, 77 for every CLIP.
func (t *Tokenizer) MaxLength() int { return t.maxLength }

// Len is the number of ids, added tokens included; all ids are below it.
func (t *Tokenizer) Len() int { return t.bpe.size + len(t.addedText) }

// Clone returns a tokenizer that shares the vocabulary and can be added to on its own.
func (t *Tokenizer) Clone() *Tokenizer {
	out := *t
	out.special, out.added, out.addedRaw = t.special.clone(), t.added.clone(), t.addedRaw.clone()
	out.addedText = append([]string(nil), t.addedText...)
	return &out
}

// WithMode is Clone in another mode.
func (t *Tokenizer) WithMode(m Mode) *Tokenizer {
	out := t.Clone()
	out.mode = m
	return out
}

// AddToken makes text one token and returns its id: the next free one, or the one that it has where it is
// already added or in the vocabulary.
func (t *Tokenizer) AddToken(text string) (int, error) {
	if strings.TrimSpace(text) == "" {
		return 0, errors.New("an added token must have a character that is not a space")
	}
	if !utf8.ValidString(text) {
		return 0, fmt.Errorf("the added token %q is not UTF-8 text", text)
	}
	id, ok := t.TokenID(text)
	if !ok {
		id = t.Len()
		t.addedText = append(t.addedText, text)
	}
	for _, s := range t.special.list {
		if s.text == text {
			return id, nil
		}
	}
	t.addedRaw.add(text, id)
	t.added.add(string(normalize(nil, []byte(text))), id)
	return id, nil
}

// TokenID finds an added token, or a token of the vocabulary as its files write it.
func (t *Tokenizer) TokenID(text string) (int, bool) {
	for i, a := range t.addedText {
		if a == text {
			return t.bpe.size + i, true
		}
	}
	return t.bpe.find(text)
}

// Encode returns the ids of text between BOS and EOS, of any number.
func (t *Tokenizer) Encode(text string) []int {
	return t.appendIDs(make([]int, 0, 2+len(text)/3), text)
}

// EncodePadded returns exactly n ids, n ≥ 1: longer sequences keep their first n-1 ids and end with EOS, shorter ones are
// filled with Pad.
func (t *Tokenizer) EncodePadded(text string, n int) []int32 {
	out := make([]int32, max(n, 0))
	ids := t.Encode(text)
	for i := range out {
		if i < len(ids) {
			out[i] = int32(ids[i])
		} else {
			out[i] = int32(t.pad)
		}
	}
	if len(ids) > n && n > 0 {
		out[n-1] = int32(t.eos)
	}
	return out
}

func (t *Tokenizer) appendIDs(out []int, text string) []int {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	out = append(out, t.bos)
	rest := []byte(strings.ToValidUTF8(text, "\uFFFD"))
	raw := &t.special
	if t.mode == Original && len(t.addedRaw.list) > 0 {
		all := t.special.clone()
		for _, a := range t.addedRaw.list {
			all.add(a.text, a.id)
		}
		raw = &all
	}
	for {
		at, token := raw.next(rest)
		if t.mode == Original {
			out = t.encodeOriginal(out, string(rest[:at]), s)
		} else {
			out = t.encodeCurrent(out, rest[:at], s)
		}
		if token == nil {
			break
		}
		out = append(out, token.id)
		rest = rest[at+len(token.text):]
	}
	return append(out, t.eos)
}

// encodeCurrent encodes text without special tokens: it is normalized, then added tokens are found, then words.
func (t *Tokenizer) encodeCurrent(out []int, text []byte, s *scratch) []int {
	s.text = normalize(s.text[:0], text)
	rest := s.text
	for {
		at, token := t.added.next(rest)
		for word := range words(rest[:at]) {
			// The pattern keeps a special token's text together, and the byte-level step after it cuts it again.
			if len(word) > 4 && word[0] == '<' && isSpecialText(word) {
				out = t.bpe.encodeWord(out, word[:2], int32(t.unknown), s)
				out = t.bpe.encodeWord(out, word[2:len(word)-2], int32(t.unknown), s)
				word = word[len(word)-2:]
			}
			out = t.bpe.encodeWord(out, word, int32(t.unknown), s)
		}
		if token == nil {
			return out
		}
		out = append(out, token.id)
		rest = rest[at+len(token.text):]
	}
}

// encodeOriginal encodes text without special and added tokens, repaired first.
func (t *Tokenizer) encodeOriginal(out []int, text string, s *scratch) []int {
	for word := range words([]byte(lowerOriginal(repair(text)))) {
		if len(word) > 4 && word[0] == '<' && isSpecialText(word) {
			if id, ok := t.bpe.find(string(word)); ok {
				out = append(out, id)
				continue
			}
		}
		out = t.bpe.encodeWord(out, word, int32(t.unknown), s)
	}
	return out
}

func isSpecialText(word []byte) bool {
	return string(word) == startOfText || string(word) == endOfText
}

// Decode gives the text of ids back, without BOS, EOS and padding. It is lower-cased and its spaces are not those
// that were encoded. Ids out of range are passed over.
func (t *Tokenizer) Decode(ids []int) string {
	var out []byte
	for _, id := range ids {
		switch {
		case id < 0 || id >= t.Len(), id == t.bos, id == t.eos, id == t.pad:
		case id < t.bpe.size:
			out = t.bpe.appendText(out, id)
		default:
			out = append(append(out, t.addedText[id-t.bpe.size]...), ' ')
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out), "\uFFFD"))
}
