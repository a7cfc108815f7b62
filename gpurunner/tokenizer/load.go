package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Load reads a diffusers tokenizer folder: vocab.json and merges.txt, or, where one of them is not there, the
// tokenizer.json that transformers 5 saves instead; special tokens from tokenizer_config.json, special_tokens_map.json
// and added_tokens.json, where these exist. Errors name the file, and the line where there is one.
func Load(fsys fs.FS) (*Tokenizer, error) {
	config, err := loadConfig(fsys)
	if err != nil {
		return nil, err
	}
	vocabText, err := fs.ReadFile(fsys, "vocab.json")
	mergesText, errMerges := fs.ReadFile(fsys, "merges.txt")
	if err == nil {
		err = errMerges
	}
	if errors.Is(err, fs.ErrNotExist) {
		whole, errWhole := fs.ReadFile(fsys, singleFile)
		switch {
		case errWhole == nil:
			b, err := loadSingle(whole, config)
			if err != nil {
				return nil, fmt.Errorf("tokenizer: %s%w", singleFile, err)
			}
			return config.tokenizer(b)
		case !errors.Is(errWhole, fs.ErrNotExist):
			return nil, fmt.Errorf("tokenizer: %w", errWhole)
		}
		return nil, fmt.Errorf("tokenizer: %w, and there is no %s either", err, singleFile)
	}
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
	return config.tokenizer(b)
}

// newBPE builds the merges of tokens, which are in the order of their ids.
func newBPE(tokens []string, mergesText []byte) (*bpe, error) {
	ids := make(map[string]int32, len(tokens))
	for i, t := range tokens {
		ids[t] = int32(i)
	}
	if len(ids) < len(tokens) {
		return nil, &atLine{0, errors.New("the vocabulary lists a token twice")}
	}
	b := &bpe{size: len(tokens), tokens: func() []string { return tokens }}
	b.addBytes(func(token string) (int32, bool) { id, ok := ids[token]; return id, ok })
	b.merges = newMergeTable(len(tokens))
	var joined []byte
	made := 0
	err := parseMerges(mergesText, func(left, right []byte) error {
		l, ok := ids[string(left)]
		if !ok {
			return fmt.Errorf("%q is not in the vocabulary", shorten(string(left)))
		}
		r, ok := ids[string(right)]
		if !ok {
			return fmt.Errorf("%q is not in the vocabulary", shorten(string(right)))
		}
		joined = append(append(joined[:0], left...), right...)
		id, ok := ids[string(joined)]
		if !ok {
			return fmt.Errorf("it makes %q, which is not in the vocabulary", shorten(string(joined)))
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
		err = &atLine{0, fmt.Errorf("it makes %d of the vocabulary's %d tokens of several bytes: it is cut short", made, rest)}
	}
	return b, err
}

// config is what the JSON files beside the vocabulary say of special tokens.
type config struct {
	special struct {
		BOS        tokenName             `json:"bos_token"`
		EOS        tokenName             `json:"eos_token"`
		Unknown    tokenName             `json:"unk_token"`
		Pad        tokenName             `json:"pad_token"`
		Additional []tokenName           `json:"additional_special_tokens"`
		MaxLength  float64               `json:"model_max_length"`     // 1e30 where nobody set it
		Added      map[string]addedEntry `json:"added_tokens_decoder"` // by id
	}
	added  map[string]int // added_tokens.json
	listed []addedEntry   // those of added_tokens_decoder, and of tokenizer.json
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
	for key, a := range c.special.Added {
		if _, err := fmt.Sscanf(key, "%d", &a.ID); err != nil {
			return nil, fmt.Errorf("tokenizer: tokenizer_config.json: added_tokens_decoder has the key %q, which is not an id", shorten(key))
		}
		c.listed = append(c.listed, a)
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
			return nil, fmt.Errorf("tokenizer: the %s %q is not in the vocabulary", s.role, shorten(s.text))
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

// addListed adds the tokens of added_tokens.json, of added_tokens_decoder and of tokenizer.json, in the order of their
// ids, which must follow on the vocabulary's.
func (c *config) addListed(t *Tokenizer) error {
	var list []addedEntry
	for text, id := range c.added {
		list = append(list, addedEntry{id, text, false})
	}
	for _, a := range c.listed {
		if _, twice := c.added[a.Content]; !twice || a.Special {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b addedEntry) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Content, b.Content))
	})
	for _, l := range list {
		if l.Content == "" {
			return fmt.Errorf("tokenizer: the added token of id %d has no text", l.ID)
		}
		if id, ok := t.bpe.find(l.Content); ok && (id == l.ID || l.Special) {
			if l.Special {
				t.special.add(l.Content, id)
			}
			continue
		}
		id, err := t.AddToken(l.Content)
		if err != nil {
			return fmt.Errorf("tokenizer: added token of id %d: %w", l.ID, err)
		}
		if id != l.ID {
			return fmt.Errorf("tokenizer: the added token %q has the id %d where %d is the next free one", shorten(l.Content), l.ID, id)
		}
		if l.Special {
			t.special.add(l.Content, id)
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
