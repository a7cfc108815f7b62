package aws

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
)

// cursor is the key of the last item of a page, with a mark of the list it belongs
// to, so that another list's cursor is refused, not misread.
type cursor struct {
	Scope uint32 `json:"s"`
	Last  []byte `json:"l"`
}

// scope marks a list by what it was asked for.
func scope(list ...string) uint32 {
	h := fnv.New32a()
	for _, s := range list {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum32()
}

func (c cursor) String() string {
	b, _ := json.Marshal(c) // a number and bytes always marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads the last key out of text, which must come from the list with
// this scope. "" is the beginning of the list.
func parseCursor(op, text string, scope uint32) (last string, err error) {
	if text == "" {
		return "", nil
	}
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Scope != scope || len(c.Last) == 0 {
		return "", invalid(op, "", "the cursor is not one that this list gave; begin again without it")
	}
	return string(c.Last), nil
}
