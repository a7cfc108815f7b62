package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// singleFile is the name of the file in which transformers keeps a whole
// tokenizer. Since transformers 5 it is the only one that it saves.
const singleFile = "tokenizer.json"

// single is a tokenizer.json, as the library tokenizers writes it, less what is
// the same for every CLIP.
type single struct {
	Added []addedEntry `json:"added_tokens"`
	Post  *struct {
		CLS tokenAndID `json:"cls"`
		SEP tokenAndID `json:"sep"`
	} `json:"post_processor"`
	Padding *struct {
		Token string `json:"pad_token"`
	} `json:"padding"`
	Model *singleModel `json:"model"`
}

type singleModel struct {
	Type         *string         `json:"type"` // absent before tokenizers 0.9
	EndOfWord    string          `json:"end_of_word_suffix"`
	Prefix       string          `json:"continuing_subword_prefix"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Vocabulary   json.RawMessage `json:"vocab"`
	Merges       mergeList       `json:"merges"`
}

// addedEntry is a token of added_tokens.
type addedEntry struct {
	ID      int    `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// tokenAndID is ["<|endoftext|>", 49407].
type tokenAndID string

func (t *tokenAndID) UnmarshalJSON(b []byte) error {
	var pair []json.RawMessage
	if json.Unmarshal(b, &pair) == nil && len(pair) == 2 && json.Unmarshal(pair[0], (*string)(t)) == nil {
		return nil
	}
	return fmt.Errorf("post_processor: want a token and its id, got %q", shorten(string(b)))
}

// mergeList is the merges as merges.txt has them, a line each, behind its line
// "#version".
type mergeList []byte

// UnmarshalJSON reads both shapes: "a b", and since tokenizers 0.20 ["a", "b"].
func (m *mergeList) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var lines []string
	var pairs [][]string
	if err := json.Unmarshal(b, &lines); err != nil {
		lines = nil
		if json.Unmarshal(b, &pairs) != nil {
			return errors.New(`merges: want a list of "a b" or of ["a", "b"]`)
		}
	}
	for _, line := range lines {
		pairs = append(pairs, strings.Split(line, " "))
	}
	out := bytes.NewBufferString("#version: 0.2\n")
	for i, p := range pairs {
		if len(p) != 2 || !symbol(p[0]) || !symbol(p[1]) {
			return fmt.Errorf("merge %d: want two symbols, got %q", i+1, shorten(strings.Join(p, " ")))
		}
		out.WriteString(p[0] + " " + p[1] + "\n")
	}
	*m = out.Bytes()
	return nil
}

// symbol reports whether s can stand in merges.txt: the byte alphabet has no
// white space.
func symbol(s string) bool { return s != "" && !strings.ContainsFunc(s, unicode.IsSpace) }

// loadSingle reads a tokenizer.json: the vocabulary, and what it says of special
// tokens to c where c does not say it.
func loadSingle(text []byte, c *config) (*bpe, error) {
	if !utf8.Valid(text) {
		return nil, &atLine{0, errors.New("the file is not UTF-8 text")}
	}
	var s single
	if err := json.Unmarshal(text, &s); err != nil {
		line := 0
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line = 1 + bytes.Count(text[:min(int(syntax.Offset), len(text))], newline)
		}
		return nil, &atLine{line, err}
	}
	if err := s.Model.check(); err != nil {
		return nil, &atLine{0, err}
	}
	tokens, err := parseVocabulary(s.Model.Vocabulary)
	if err != nil {
		var at *atLine
		if errors.As(err, &at) {
			err = at.err // lines are counted within the object
		}
		return nil, &atLine{0, fmt.Errorf("vocab: %w", err)}
	}
	s.complete(c)
	if isCLIP(tokens, s.Model.Merges) {
		return clipVocabulary(), nil
	}
	b, err := newBPE(tokens, s.Model.Merges)
	if err != nil {
		var at *atLine
		if errors.As(err, &at) && at.line > 1 {
			err = fmt.Errorf("merge %d: %w", at.line-1, at.err)
		} else if at != nil {
			err = fmt.Errorf("merges: %w", at.err)
		}
		return nil, &atLine{0, err}
	}
	return b, nil
}

// check refuses models that would cut text otherwise than CLIP's.
func (m *singleModel) check() error {
	switch {
	case m == nil:
		return errors.New("it has no model")
	case m.Type != nil && *m.Type != "BPE":
		return fmt.Errorf("its model is %q; want CLIP's byte-pair encoding, BPE", shorten(*m.Type))
	case m.EndOfWord != wordEnd || m.Prefix != "":
		return fmt.Errorf("it marks the end of a word by %q and the inside by %q; CLIP's has %q and nothing", shorten(m.EndOfWord), shorten(m.Prefix), wordEnd)
	case m.ByteFallback || m.IgnoreMerges:
		return errors.New("it asks for byte_fallback or ignore_merges, which CLIP's has not")
	case m.Vocabulary == nil:
		return errors.New("its model has no vocab")
	case m.Merges == nil:
		return errors.New("its model has no merges")
	}
	return nil
}

// complete tells c of the special and added tokens that it lacks.
func (s *single) complete(c *config) {
	if s.Post != nil {
		if c.special.BOS == "" {
			c.special.BOS = tokenName(s.Post.CLS)
		}
		if c.special.EOS == "" {
			c.special.EOS = tokenName(s.Post.SEP)
		}
	}
	if c.special.Pad == "" && s.Padding != nil {
		c.special.Pad = tokenName(s.Padding.Token)
	}
	listed := map[int]bool{}
	for _, l := range c.listed {
		listed[l.ID] = true
	}
	for _, a := range s.Added {
		if !listed[a.ID] {
			c.listed = append(c.listed, a)
		}
	}
}
