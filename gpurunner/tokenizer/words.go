package tokenizer

import (
	"bytes"
	"iter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalize appends text as today's tokenizer sees it: composed (NFC), every run of white space one space, each
// character in lower case by itself.
func normalize(out, text []byte) []byte {
	if !ascii(text) && !norm.NFC.IsNormal(text) {
		text = norm.NFC.Bytes(text)
	}
	space := false
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		i += size
		if unicode.IsSpace(r) {
			if !space {
				out = append(out, ' ')
			}
			space = true
			continue
		}
		space = false
		switch {
		case 'A' <= r && r <= 'Z':
			out = append(out, byte(r)+'a'-'A')
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r == 'İ': // the one character whose lower case is two
			out = append(out, "i\u0307"...)
		default:
			out = utf8.AppendRune(out, unicode.ToLower(r))
		}
	}
	return out
}

func ascii(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

type class uint8

const (
	space class = iota
	letter
	number
	other
)

func classOf(text []byte) (class, int) {
	c := text[0]
	if c < utf8.RuneSelf {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			return letter, 1
		case '0' <= c && c <= '9':
			return number, 1
		case c == ' ', '\t' <= c && c <= '\r':
			return space, 1
		}
		return other, 1
	}
	r, size := utf8.DecodeRune(text)
	switch {
	case unicode.IsLetter(r):
		return letter, size
	case unicode.IsNumber(r):
		return number, size
	case unicode.IsSpace(r):
		return space, size
	}
	return other, size
}

// contractions are English suffixes that are words of their own; the first that fits is taken.
var contractions = [][]byte{[]byte("'s"), []byte("'t"), []byte("'re"), []byte("'ve"), []byte("'m"), []byte("'ll"), []byte("'d")}

// words cuts text in lower case by CLIP's pattern: a special token's text, a contraction, a run of letters, a single digit
// or other number, a run of anything else that is not white space. The slices lie in text.
func words(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(text) > 0 {
			n := wordLength(text)
			if n < 0 { // white space
				text = text[-n:]
				continue
			}
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// wordLength is the length of the word at the start of text, or minus the length of the space there.
func wordLength(text []byte) int {
	switch text[0] {
	case '<':
		for _, special := range [...]string{startOfText, endOfText} {
			if len(text) >= len(special) && string(text[:len(special)]) == special {
				return len(special)
			}
		}
	case '\'':
		for _, c := range contractions {
			if bytes.HasPrefix(text, c) {
				return len(c)
			}
		}
	}
	kind, n := classOf(text)
	switch kind {
	case space:
		return -n
	case number:
		return n
	}
	for n < len(text) {
		k, size := classOf(text[n:])
		if k != kind {
			break
		}
		n += size
	}
	return n
}
