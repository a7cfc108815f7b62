package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Marshal writes v as JSON the way JavaScript's JSON.stringify does: compact, without \u003c for <
// and without a final newline. Receivers of webhooks check a signature over a body that they have
// parsed and written again, and every prompt here has a "<1>" in it.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ErrNotObject says that a body is JSON, but no object.
var ErrNotObject = errors.New("the request body must be a JSON object")

// ParseObject reads one JSON object from a request body. Numbers stay json.Number, so that a large
// seed keeps its digits. Errors are safe to show: none repeats the body.
func ParseObject(body []byte) (map[string]any, error) {
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

// plainNumbers reports whether all numbers in v are such that a float64 holds about them: a number like
// 1e999999999 would take a validator's exact arithmetic for ever.
func plainNumbers(v any) bool {
	switch v := v.(type) {
	case json.Number:
		if len(v) > 400 {
			return false
		}
		f, err := v.Float64()
		return err == nil && (f != 0 || len(v) < 40)
	case []any:
		for _, x := range v {
			if !plainNumbers(x) {
				return false
			}
		}
	case map[string]any:
		for _, x := range v {
			if !plainNumbers(x) {
				return false
			}
		}
	}
	return true
}
