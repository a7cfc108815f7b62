package local

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
)

// A cursor is the position behind the last item of a page, with a mark of the
// list it belongs to, so that another list's cursor is refused, not misread.
type cursor struct {
	Scope uint32 `json:"s"`
	Num   int64  `json:"n,omitempty"`
	Text  []byte `json:"t,omitempty"`
}

func scope(list ...string) uint32 {
	h := fnv.New32a()
	for _, s := range list {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum32()
}

func (c cursor) String() string {
	b, _ := json.Marshal(c) // numbers and bytes always marshal
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads text, which must come from the list with this scope.
func parseCursor(op, text string, scope uint32) (cursor, error) {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil || c.Scope != scope {
		return cursor{}, invalid(op, "", "the cursor is not one that this list gave; begin again without it")
	}
	return c, nil
}

// prefixEnd is the first string of bytes behind all that begin with prefix, nil
// where there is none.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	for len(end) > 0 {
		if end[len(end)-1] < 0xff {
			end[len(end)-1]++
			return end
		}
		end = end[:len(end)-1]
	}
	return nil
}
