package dataset

import (
	"errors"
	"path"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// CaptionSource says where a picture's caption comes from.
type CaptionSource uint8

// The sources, in the order in which they are looked for.
const (
	FromText   CaptionSource = iota // name.txt beside name.jpg
	FromFolder                      // caption.txt in its folder
	FromName                        // the picture's own name
)

func (s CaptionSource) String() string {
	return [...]string{"its text file", "caption.txt", "its name"}[s]
}

// captions holds the texts that lie beside the pictures, by stem
// ("dogs/rex") and by folder ("dogs").
type captions struct {
	byStem, byFolder map[string]string
}

// captionFile reports whether a file is a caption rather than a picture.
func captionFile(name string) bool { return strings.EqualFold(path.Ext(name), ".txt") }

func (c *captions) add(f file, text string) {
	if strings.EqualFold(f.base(), "caption.txt") {
		c.byFolder[path.Dir(f.name)] = text
		return
	}
	c.byStem[strings.ToLower(f.stem())] = text
}

// of finds a picture's caption.
func (c *captions) of(f file) (string, CaptionSource) {
	if t, ok := c.byStem[strings.ToLower(f.stem())]; ok {
		return t, FromText
	}
	if t, ok := c.byFolder[path.Dir(f.name)]; ok {
		return t, FromFolder
	}
	return nameCaption(f.name), FromName
}

var trailingNumber = regexp.MustCompile(`[\s(]*\d+\)?$`)

// nameCaption makes words of a file's name: "red_apple-02.png" is "red apple".
func nameCaption(name string) string {
	base := path.Base(name)
	base = strings.TrimSuffix(base, path.Ext(base))
	words := strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, base)), " ")
	if short := strings.TrimSpace(trailingNumber.ReplaceAllString(words, "")); short != "" {
		return short
	}
	return words
}

// originalNameCaption is the file's name up to its first dot, as the trainer of
// February 2023 takes it.
func originalNameCaption(name string) string {
	base, _, _ := strings.Cut(path.Base(name), ".")
	return strings.TrimSpace(base)
}

// decodeCaption makes one line of a text file.
func decodeCaption(b []byte) (string, error) {
	text := ""
	switch {
	case len(b) >= 2 && (b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff):
		big := b[0] == 0xfe
		var units []uint16
		for b = b[2:]; len(b) >= 2; b = b[2:] {
			if big {
				units = append(units, uint16(b[0])<<8|uint16(b[1]))
			} else {
				units = append(units, uint16(b[1])<<8|uint16(b[0]))
			}
		}
		text = string(utf16.Decode(units))
	default:
		text = strings.TrimPrefix(string(b), "\ufeff")
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", errors.New("it is no text in UTF-8")
	}
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return "", errors.New("it is empty")
	}
	return text, nil
}
