package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// atLine is an error at a line of a file; it begins with the punctuation that joins it to the file's name.
type atLine struct {
	line int
	err  error
}

func (e *atLine) Error() string {
	if e.line == 0 {
		return ": " + e.err.Error()
	}
	return fmt.Sprintf(", line %d: %v", e.line, e.err)
}

func (e *atLine) Unwrap() error { return e.err }

var newline = []byte("\n")

// maxTokens bounds a vocabulary; CLIP's has 49408.
const maxTokens = 1 << 20

// parseVocabulary reads a JSON object of tokens and ids, and returns the tokens in the order of their ids, which
// must be 0 to n-1. It is a reader of its own because a start-up waits for it: encoding/json takes four times as
// long for a megabyte of it, and says no line.
func parseVocabulary(text []byte) ([]string, error) {
	v := vocabularyParser{text: string(text)} // one copy: the tokens are parts of it
	tokens, err := v.parse()
	if err != nil {
		return nil, &atLine{1 + bytes.Count(text[:min(v.at, len(text))], newline), err}
	}
	out := make([]string, len(tokens))
	used := make([]bool, len(tokens))
	for _, t := range tokens {
		if t.id >= len(tokens) {
			return nil, &atLine{0, fmt.Errorf("token %q has the id %d, but there are %d tokens: ids must run from 0 without a gap", shorten(t.text), t.id, len(tokens))}
		}
		if used[t.id] {
			return nil, &atLine{0, fmt.Errorf("the id %d is given twice, to %q and to %q", t.id, shorten(out[t.id]), shorten(t.text))}
		}
		out[t.id], used[t.id] = t.text, true
	}
	return out, nil
}

type vocabularyEntry struct {
	text string
	id   int
}

type vocabularyParser struct {
	text string
	at   int
}

// next returns the next byte that is not white space and steps over it; 0 at the end.
func (v *vocabularyParser) next() byte {
	for ; v.at < len(v.text); v.at++ {
		switch c := v.text[v.at]; c {
		case ' ', '\t', '\r', '\n':
		case 0: // no JSON has it; 0 means the end here
			v.at++
			return ' '
		default:
			v.at++
			return c
		}
	}
	return 0
}

func (v *vocabularyParser) parse() ([]vocabularyEntry, error) {
	if !utf8.ValidString(v.text) {
		return nil, errors.New("the file is not UTF-8 text")
	}
	if v.next() != '{' {
		return nil, errors.New("want a JSON object of tokens and their ids")
	}
	out := make([]vocabularyEntry, 0, len(v.text)/18)
	for first := true; ; first = false {
		c := v.next()
		if c == '}' && first {
			break
		}
		if !first {
			if c == '}' {
				break
			}
			if c != ',' {
				return nil, errors.New("want a comma or the closing brace after an id")
			}
			c = v.next()
		}
		if c != '"' {
			return nil, errors.New("want a token in quotes")
		}
		token, err := v.string()
		if err != nil {
			return nil, err
		}
		if v.next() != ':' {
			return nil, fmt.Errorf("want a colon after token %q", shorten(token))
		}
		id, err := v.id(token)
		if err != nil {
			return nil, err
		}
		if len(out) == maxTokens {
			return nil, fmt.Errorf("there are more than %d tokens", maxTokens)
		}
		out = append(out, vocabularyEntry{token, id})
	}
	if v.next() != 0 {
		return nil, errors.New("something follows the JSON object")
	}
	if len(out) == 0 {
		return nil, errors.New("it has no tokens")
	}
	return out, nil
}

// string reads the rest of a JSON string whose opening quote has been read.
func (v *vocabularyParser) string() (string, error) {
	start := v.at
	plain := true
	for ; v.at < len(v.text); v.at++ {
		switch c := v.text[v.at]; {
		case c == '"':
			v.at++
			if plain {
				return v.text[start : v.at-1], nil
			}
			var s string
			if err := json.Unmarshal([]byte(v.text[start-1:v.at]), &s); err != nil {
				return "", fmt.Errorf("the token %q is not a JSON string", shorten(v.text[start-1:v.at]))
			}
			return s, nil
		case c == '\\':
			plain = false
			v.at++
		case c < ' ':
			return "", errors.New("a token has a control character in it, or its closing quote is missing")
		}
	}
	return "", errors.New("the file ends inside a token")
}

func (v *vocabularyParser) id(token string) (int, error) {
	if v.next() != 0 {
		v.at-- // the first byte that is not white space
	}
	n, digits := 0, 0
	for ; v.at < len(v.text) && '0' <= v.text[v.at] && v.text[v.at] <= '9'; v.at++ {
		n = n*10 + int(v.text[v.at]-'0')
		digits++
		if n > maxTokens {
			return 0, fmt.Errorf("the id of token %q is above %d", shorten(token), maxTokens)
		}
	}
	if digits == 0 {
		return 0, fmt.Errorf("the id of token %q is not a whole number", shorten(token))
	}
	return n, nil
}

// parseMerges calls merge for every line's two symbols. A first line that begins with "#version" and blank lines are
// passed over.
func parseMerges(text []byte, merge func(left, right []byte) error) error {
	if !utf8.Valid(text) {
		return &atLine{0, errors.New("the file is not UTF-8 text")}
	}
	for n := 1; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, newline)
		text = rest
		line = bytes.TrimRight(line, "\r ")
		if len(line) == 0 || n == 1 && bytes.HasPrefix(line, []byte("#version")) {
			continue
		}
		left, right, ok := bytes.Cut(line, []byte(" "))
		if !ok || len(left) == 0 || len(right) == 0 || bytes.IndexByte(right, ' ') >= 0 {
			return &atLine{n, fmt.Errorf("want two symbols with a space between them, got %q", shorten(string(line)))}
		}
		if err := merge(left, right); err != nil {
			return &atLine{n, err}
		}
	}
	return nil
}
