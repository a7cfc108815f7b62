// Package pngtext writes PNG files with a line of text about how they were
// made, and reads it back: an iTXt chunk (PNG specification, third edition,
// 11.3.3.4), which the standard library does not write.
package pngtext

import (
	"bytes"
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
	raw, err := io.ReadAll(io.LimitReader(r, 256<<20))
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
		data := raw[8 : 8+n]
		if string(raw[4:8]) == "iTXt" {
			if text, ok := bytes.CutPrefix(data, []byte(Keyword+"\x00\x00\x00\x00\x00")); ok {
				return string(text), nil
			}
		}
		raw = raw[12+n:]
	}
	return "", ErrNoText
}
