package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Load reads a diffusers tokenizer folder: vocab.json and merges.txt; special tokens from tokenizer_config.json,
// special_tokens_map.json and added_tokens.json, where these exist. Errors name the file, and the line where there is one.
func Load(fsys fs.FS) (*Tokenizer, error) {
	vocabText, err := fs.ReadFile(fsys, "vocab.json")
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	mergesText, err := fs.ReadFile(fsys, "merges.txt")
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tokens, err := parseVocabulary(vocabText)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: vocab.json%w", err)
	}
	var b *bpe
	if isCLIP(tokens, mergesText) {
		b = clipVocabulary()
	} else if b, err = newBPE(tokens, mergesText); err != nil {
		return nil, fmt.Errorf("tokenizer: merges.txt%w", err)
	}
	config, err := loadConfig(fsys)
	if err != nil {
		return nil, err
	}
	return config.tokenizer(b)
}

// newBPE builds the merges of tokens, which are in the order of their ids.
func newBPE(tokens []string, mergesText []byte) (*bpe, error) {
	ids := make(map[string]int32, len(tokens))
	for i, t := range tokens {
		ids[t] = int32(i)
	}
	if len(ids) < len(tokens) {
		return nil, &atLine{0, errors.New("vocab.json lists a token twice")}
	}
	b := &bpe{size: len(tokens), tokens: func() []string { return tokens }}
	b.addBytes(func(token string) (int32, bool) { id, ok := ids[token]; return id, ok })
	b.merges = newMergeTable(len(tokens))
	var joined []byte
	made := 0
	err := parseMerges(mergesText, func(left, right []byte) error {
		l, ok := ids[string(left)]
		if !ok {
			return fmt.Errorf("%q is not in vocab.json", shorten(string(left)))
		}
		r, ok := ids[string(right)]
		if !ok {
			return fmt.Errorf("%q is not in vocab.json", shorten(string(right)))
		}
		joined = append(append(joined[:0], left...), right...)
		id, ok := ids[string(joined)]
		if !ok {
			return fmt.Errorf("it makes %q, which is not in vocab.json", shorten(string(joined)))
		}
		if len(b.merges.ids) >= len(tokens) {
			return errors.New("there are more merges than tokens")
		}
		b.merges.add(l, r, id)
		made++
		return nil
	})
	// Bytes, alone and at the end of a word, need no merge, and a few tokens are special. Of a file that was cut short
	// every text would come out in pieces.
	if rest := len(tokens) - 2*256; err == nil && rest-made > max(made, 64) {
		err = &atLine{0, fmt.Errorf("it makes %d of vocab.json's %d tokens of several bytes: it is cut short", made, rest)}
	}
	return b, err
}

// config is what the JSON files beside the vocabulary say of special tokens.
type config struct {
	special struct {
		BOS        tokenName   `json:"bos_token"`
		EOS        tokenName   `json:"eos_token"`
		Unknown    tokenName   `json:"unk_token"`
		Pad        tokenName   `json:"pad_token"`
		Additional []tokenName `json:"additional_special_tokens"`
		MaxLength  float64     `json:"model_max_length"` // 1e30 where nobody set it
		Added      map[string]struct {
			Content string `json:"content"`
			Special bool   `json:"special"`
		} `json:"added_tokens_decoder"`
	}
	added map[string]int // added_tokens.json
}

// tokenName is a token's text, written plainly or as an object with its text as content.
type tokenName string

func (t *tokenName) UnmarshalJSON(b []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(b, (*string)(t)) == nil {
		return nil
	}
	if err := json.Unmarshal(b, &object); err != nil {
		return fmt.Errorf("want a token's text or an object with its content, got %q", shorten(string(b)))
	}
	*t = tokenName(object.Content)
	return nil
}

func loadConfig(fsys fs.FS) (*config, error) {
	c := &config{}
	for _, f := range []struct {
		name string
		into any
	}{
		{"special_tokens_map.json", &c.special},
		{"tokenizer_config.json", &c.special}, // read second: it has the last word
		{"added_tokens.json", &c.added},
	} {
		text, err := fs.ReadFile(fsys, f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(text, f.into)
		}
		if err != nil {
			return nil, fmt.Errorf("tokenizer: %s: %w", f.name, err)
		}
	}
	return c, nil
}

func (c *config) tokenizer(b *bpe) (*Tokenizer, error) {
	t := &Tokenizer{bpe: b, maxLength: 77}
	if n := c.special.MaxLength; n >= 2 && n <= 1<<20 {
		t.maxLength = int(n)
	}
	if err := c.addListed(t); err != nil {
		return nil, err
	}
	eos := string(c.special.EOS)
	if eos == "" {
		eos = endOfText
	}
	for _, s := range []struct {
		role, text, otherwise string
		id                    *int
	}{
		{"bos_token", string(c.special.BOS), startOfText, &t.bos},
		{"eos_token", eos, "", &t.eos},
		{"unk_token", string(c.special.Unknown), eos, &t.unknown},
		{"pad_token", string(c.special.Pad), eos, &t.pad},
	} {
		if s.text == "" {
			s.text = s.otherwise
		}
		id, ok := t.TokenID(s.text)
		if !ok {
			return nil, fmt.Errorf("tokenizer: the %s %q is not in vocab.json", s.role, shorten(s.text))
		}
		*s.id = id
		t.special.add(s.text, id)
	}
	for _, a := range c.special.Additional {
		if id, ok := t.TokenID(string(a)); ok && a != "" {
			t.special.add(string(a), id)
		}
	}
	return t, nil
}

// addListed adds the tokens of added_tokens.json and of added_tokens_decoder, in the order of their ids, which must
// follow on the vocabulary's.
func (c *config) addListed(t *Tokenizer) error {
	type listed struct {
		id      int
		text    string
		special bool
	}
	var list []listed
	for text, id := range c.added {
		list = append(list, listed{id, text, false})
	}
	for key, a := range c.special.Added {
		var id int
		if _, err := fmt.Sscanf(key, "%d", &id); err != nil {
			return fmt.Errorf("tokenizer: tokenizer_config.json: added_tokens_decoder has the key %q, which is not an id", shorten(key))
		}
		if _, twice := c.added[a.Content]; !twice || a.Special {
			list = append(list, listed{id, a.Content, a.Special})
		}
	}
	slices.SortFunc(list, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.text, b.text))
	})
	for _, l := range list {
		if l.text == "" {
			return fmt.Errorf("tokenizer: the added token of id %d has no text", l.id)
		}
		if id, ok := t.bpe.find(l.text); ok && (id == l.id || l.special) {
			if l.special {
				t.special.add(l.text, id)
			}
			continue
		}
		id, err := t.AddToken(l.text)
		if err != nil {
			return fmt.Errorf("tokenizer: added token of id %d: %w", l.id, err)
		}
		if id != l.id {
			return fmt.Errorf("tokenizer: the added token %q has the id %d where %d is the next free one", shorten(l.text), l.id, id)
		}
		if l.special {
			t.special.add(l.text, id)
		}
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
