package tokenizer

import (
	"slices"
	"strings"
)

// addedTokens are tokens that are found in the text before it is cut into words.
type addedTokens struct {
	list  []addedToken
	first [4]uint64 // the bytes with which one of them begins, a bit each
}

type addedToken struct {
	text string
	id   int
}

// add inserts a token; longer ones come first, so that the longest wins where several fit.
func (a *addedTokens) add(text string, id int) {
	at, found := slices.BinarySearchFunc(a.list, text, func(t addedToken, text string) int {
		if d := len(text) - len(t.text); d != 0 {
			return d
		}
		return strings.Compare(t.text, text)
	})
	if found {
		a.list[at].id = id
		return
	}
	a.list = slices.Insert(a.list, at, addedToken{text, id})
	a.first[text[0]>>6] |= 1 << (text[0] & 63)
}

func (a *addedTokens) clone() addedTokens {
	out := *a
	out.list = slices.Clone(a.list)
	return out
}

// next finds the first token in text: where it begins, and which. It returns len(text) when there is none.
func (a *addedTokens) next(text []byte) (int, *addedToken) {
	if len(a.list) == 0 {
		return len(text), nil
	}
	for i, c := range text {
		if a.first[c>>6]&(1<<(c&63)) == 0 {
			continue
		}
		for j := range a.list {
			t := &a.list[j]
			if len(t.text) <= len(text)-i && string(text[i:i+len(t.text)]) == t.text {
				return i, t
			}
		}
	}
	return len(text), nil
}
