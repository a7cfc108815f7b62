// Package pngtext writes PNG files with a line of text about how they were
// made, and reads the texts of PNG files: Encode's is an iTXt chunk (PNG
// specification, third edition, 11.3.3.4), which the standard library does not
// write.
package pngtext

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/png"
	"io"
)

// Keyword is the chunk's keyword; other programs of the field use it too.
const Keyword = "parameters"

const signature = "\x89PNG\r\n\x1a\n"

// Encode writes img with text. The same picture and text give the same bytes.
func Encode(w io.Writer, img image.Image, text string) error {
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, img); err != nil {
		return err
	}
	// The header chunk must be first: signature, then length, type, 13 bytes
	// and checksum.
	const afterHeader = len(signature) + 4 + 4 + 13 + 4
	raw := b.Bytes()
	if _, err := w.Write(raw[:afterHeader]); err != nil {
		return err
	}
	if _, err := w.Write(chunk("iTXt", []byte(Keyword+"\x00\x00\x00\x00\x00"+text))); err != nil {
		return err
	}
	_, err := w.Write(raw[afterHeader:])
	return err
}

func chunk(kind string, data []byte) []byte {
	c := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	c = append(append(c, kind...), data...)
	return binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
}

// ErrNoText is returned for PNG files without parameters.
var ErrNoText = errors.New("the PNG file has no parameters")

// Decode returns the text of a PNG file that Encode wrote.
func Decode(r io.Reader) (string, error) {
	text, err := Text(r, Keyword)
	if errors.Is(err, errAbsent) {
		return "", ErrNoText
	}
	return text, err
}

var errAbsent = errors.New("the PNG file has no text of this keyword")

const (
	maxFile = 256 << 20
	maxText = 64 << 20 // of a text that is packed
)

// Text returns the first text of a keyword in a PNG file, plain or packed, of
// any of the three kinds of text chunk (11.3.3.2 to 11.3.3.4). Of a tEXt or zTXt
// chunk, which hold Latin-1, ASCII comes out right.
func Text(r io.Reader, keyword string) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return "", err
	}
	if !bytes.HasPrefix(raw, []byte(signature)) {
		return "", fmt.Errorf("not a PNG file")
	}
	for raw = raw[len(signature):]; len(raw) >= 12; {
		n := binary.BigEndian.Uint32(raw)
		if uint64(n)+12 > uint64(len(raw)) {
			return "", fmt.Errorf("the PNG file is cut short")
		}
		if data, ok := bytes.CutPrefix(raw[8:8+n], []byte(keyword+"\x00")); ok {
			switch kind := string(raw[4:8]); kind {
			case "tEXt":
				return string(data), nil
			case "zTXt", "iTXt":
				return body(kind, data)
			}
		}
		raw = raw[12+n:]
	}
	return "", errAbsent
}

// body is the text of a zTXt or iTXt chunk, from behind the keyword.
func body(kind string, data []byte) (string, error) {
	packed := kind == "zTXt"
	if kind == "iTXt" && len(data) > 0 {
		packed, data = data[0] == 1, data[1:]
	}
	if len(data) == 0 || packed && data[0] != 0 {
		return "", errors.New("the PNG file's text is packed in an unknown way")
	}
	data = data[1:]
	if kind == "iTXt" { // language, and keyword in it
		for range 2 {
			_, rest, ok := bytes.Cut(data, []byte{0})
			if !ok {
				return "", errors.New("the PNG file's text is damaged")
			}
			data = rest
		}
	}
	if !packed {
		return string(data), nil
	}
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("the PNG file's text is damaged: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxText+1))
	if err != nil {
		return "", fmt.Errorf("the PNG file's text is damaged: %w", err)
	}
	if len(text) > maxText {
		return "", fmt.Errorf("the PNG file's text unpacks to more than %d bytes", maxText)
	}
	return string(text), nil
}
