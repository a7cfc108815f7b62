package tokenizer

import (
	"html"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// repair does what the original tokenizer had ftfy 6 do (https://ftfy.readthedocs.io), as far as it is plain: HTML
// entities, terminal colours, UTF-8 that was read as Latin-1 or Windows-1252, C1 controls, ligatures, full-width forms, curly
// quotes and control characters; then NFC. It does not guess at other code pages (Windows-1250, -1251, …, MacRoman, 437).
func repair(text string) string {
	for range 8 { // a repair can uncover another: "&amp;amp;"
		before := text
		if !strings.Contains(text, "<") {
			text = entity.ReplaceAllStringFunc(text, unescape)
		}
		text = redecode(text)
		text = terminal.ReplaceAllString(text, "")
		text = characters().Replace(text)
		text = norm.NFC.String(text)
		if text == before {
			break
		}
	}
	return text
}

var (
	entity   = regexp.MustCompile(`&#?[0-9A-Za-z]{1,24};`)
	terminal = regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]")
)

// unescape decodes one entity, also those that somebody wrote in capitals. It leaves alone what is none.
func unescape(s string) string {
	decode := func(s string) (string, bool) {
		out := html.UnescapeString(s)
		return out, out != s && (!strings.Contains(out, ";") || s == "&semi;") // ";" left over: only a part was one
	}
	if out, ok := decode(s); ok {
		return out
	}
	if lower := strings.ToLower(s); s == strings.ToUpper(s) {
		if out, ok := decode(lower); ok {
			return strings.ToUpper(out)
		}
	}
	return s
}

// redecode finds runs of non-ASCII characters that, written as Latin-1 or Windows-1252, are valid UTF-8: text that
// was decoded by the wrong table. Honest text hardly ever is ("é" alone is not, nor is "ã©").
func redecode(text string) string {
	var out strings.Builder
	for len(text) > 0 {
		start := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
		if start < 0 {
			break
		}
		out.WriteString(text[:start])
		text = text[start:]
		end := strings.IndexFunc(text, func(r rune) bool { return r < utf8.RuneSelf })
		if end < 0 {
			end = len(text)
		}
		run := text[:end]
		text = text[end:]
		for _, encode := range []func(rune) (byte, bool){latin1, windows1252} {
			b, ok := encodeRun(run, encode)
			if !ok {
				continue
			}
			// A no-break space, byte A0, is often turned into a space on the way; a lone lead byte before a space
			// is more likely a letter at the end of a word.
			if !utf8.Valid(b) && strings.HasPrefix(text, " ") && utf8.Valid(append(b, 0xa0)) {
				if _, size := utf8.DecodeLastRune(append(b, 0xa0)); size > 2 {
					b, text = append(b, 0xa0), text[1:]
				}
			}
			if utf8.Valid(b) {
				run = string(b)
				break
			}
		}
		out.WriteString(run)
	}
	out.WriteString(text)
	return out.String()
}

func encodeRun(run string, encode func(rune) (byte, bool)) ([]byte, bool) {
	b := make([]byte, 0, len(run)+1)
	for _, r := range run {
		c, ok := encode(r)
		if !ok {
			return nil, false
		}
		b = append(b, c)
	}
	return b, true
}

func latin1(r rune) (byte, bool) { return byte(r), r < 256 }

// windows1252 is the browsers' table: the five unassigned bytes stand for themselves.
func windows1252(r rune) (byte, bool) {
	if c, ok := charmap.Windows1252.EncodeRune(r); ok {
		return c, true
	}
	switch r {
	case 0x81, 0x8d, 0x8f, 0x90, 0x9d:
		return byte(r), true
	}
	return 0, false
}

// characters replaces single characters; pairs for strings.NewReplacer.
var characters = sync.OnceValue(func() *strings.Replacer {
	var pairs []string
	add := func(from rune, to string) { pairs = append(pairs, string(from), to) }
	for b := 0x80; b <= 0x9f; b++ { // C1 controls are Windows-1252 read as Latin-1
		if r := charmap.Windows1252.DecodeByte(byte(b)); r != utf8.RuneError && r != rune(b) {
			add(rune(b), string(r))
		}
	}
	for from, to := range ligatures {
		add(from, to)
	}
	add(0x3000, " ")
	for r := rune(0xff01); r < 0xfff0; r++ { // full-width and half-width forms
		if plain := norm.NFKC.String(string(r)); plain != string(r) {
			add(r, plain)
		}
	}
	for _, r := range "\u02bc\u2018\u2019\u201a\u201b" {
		add(r, "'")
	}
	for _, r := range "\u201c\u201d\u201e\u201f" {
		add(r, `"`)
	}
	for r := rune(0); r < 0x20; r++ {
		if !strings.ContainsRune("\t\n\f\r", r) {
			add(r, "")
		}
	}
	add(0x7f, "")
	add(0xfeff, "")
	for r := rune(0x206a); r <= 0x206f; r++ {
		add(r, "")
	}
	for r := rune(0xfff9); r <= 0xfffc; r++ {
		add(r, "")
	}
	return strings.NewReplacer(pairs...)
})

// ligatures are two letters in one character, by their compatibility decompositions, which keep the case.
var ligatures = map[rune]string{
	'ĳ': "ij", 'Ĳ': "IJ", 'ŉ': "ʼn", 'ǆ': "dž", 'ǅ': "Dž", 'Ǆ': "DŽ", 'ǉ': "lj", 'ǈ': "Lj", 'Ǉ': "LJ", 'ǌ': "nj", 'ǋ': "Nj", 'Ǌ': "NJ",
	'ǳ': "dz", 'ǲ': "Dz", 'Ǳ': "DZ", 'ﬀ': "ff", 'ﬁ': "fi", 'ﬂ': "fl", 'ﬃ': "ffi", 'ﬄ': "ffl", 'ﬅ': "ſt", 'ﬆ': "st",
}

// lowerOriginal is Python's str.lower: unlike character by character, a sigma that ends a word becomes ς.
func lowerOriginal(text string) string {
	var out strings.Builder
	runes := []rune(text)
	for i, r := range runes {
		switch {
		case r == 'İ':
			out.WriteString("i\u0307")
		case r == 'Σ' && casedBefore(runes[:i]) && !casedAfter(runes[i+1:]):
			out.WriteRune('ς')
		default:
			out.WriteRune(unicode.ToLower(r))
		}
	}
	return out.String()
}

func cased(r rune) bool { return unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r) }

// ignorable characters do not end a word (Unicode 3.13, Final_Sigma).
func ignorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:·’", r)
}

func casedBefore(runes []rune) bool {
	for i := len(runes) - 1; i >= 0; i-- {
		if !ignorable(runes[i]) {
			return cased(runes[i])
		}
	}
	return false
}

func casedAfter(runes []rune) bool {
	for _, r := range runes {
		if !ignorable(r) {
			return cased(r)
		}
	}
	return false
}
