package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Marshal writes v as JSON the way JavaScript's JSON.stringify does: compact, without \u003c for < and
// \u2028 for a line separator, and without a final newline. Receivers of webhooks check a signature over a
// body that they have parsed and written again, and every prompt here has a "<1>" in it.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return plainSeparators(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// plainSeparators writes U+2028 and U+2029, which encoding/json always escapes, as they are.
func plainSeparators(b []byte) []byte {
	if !bytes.Contains(b, []byte(`\u202`)) {
		return b
	}
	out := b[:0]
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] != '\\':
			out = append(out, b[i])
		case bytes.HasPrefix(b[i:], []byte(`\u2028`)):
			out = append(out, "\u2028"...)
			i += 5
		case bytes.HasPrefix(b[i:], []byte(`\u2029`)):
			out = append(out, "\u2029"...)
			i += 5
		default: // an escape of two characters, or the beginning of one: its second is no backslash's first
			out = append(out, b[i], b[i+1])
			i++
		}
	}
	return out
}

// ErrNotObject says that a body is JSON, but no object.
var ErrNotObject = errors.New("the request body must be a JSON object")

// ParseObject reads one JSON object from a request body. Numbers are json.Number, so that a large seed
// keeps its digits; others are in JavaScript's form, 7 for 7.0, for they are shown again: see Marshal.
// Errors are safe to show: none repeats the body.
func ParseObject(body []byte) (map[string]any, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // some editors and PowerShell begin files so
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errors.New("the request body is empty; send a JSON object")
	}
	if !utf8.Valid(body) {
		return nil, errors.New("the request body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		var syn *json.SyntaxError
		if errors.As(err, &syn) {
			return nil, fmt.Errorf("the request body is not valid JSON (at byte %d)", syn.Offset)
		}
		return nil, errors.New("the request body is not valid JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the request body has something after its JSON object")
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, ErrNotObject
	}
	if !plainNumbers(o) {
		return nil, errors.New("the request body has a number that is out of range")
	}
	return o, nil
}

// plainNumbers puts all numbers in v into JavaScript's form, and reports whether they are such that a float64
// holds about them: a number like 1e999999999 would take a validator's exact arithmetic for ever.
func plainNumbers(v any) bool {
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			n, ok := plainNumber(x)
			if !ok || !plainNumbers(n) {
				return false
			}
			v[i] = n
		}
	case map[string]any:
		for k, x := range v {
			n, ok := plainNumber(x)
			if !ok || !plainNumbers(n) {
				return false
			}
			v[k] = n
		}
	}
	return true
}

// plainNumber is v itself unless it is a number with a fraction or an exponent.
func plainNumber(v any) (any, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return v, true
	}
	f, err := n.Float64()
	if len(n) > 400 || err != nil || f == 0 && len(n) >= 40 {
		return v, false
	}
	if !strings.ContainsAny(string(n), ".eE") {
		return v, true
	}
	b, err := json.Marshal(f)
	return json.Number(b), err == nil
}
