package pngtext

import (
	"bytes"
	"compress/zlib"
	"errors"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
)

func picture() image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, 5, 3))
	img.Set(2, 1, color.NRGBA{200, 100, 50, 255})
	return img
}

func TestEncode(t *testing.T) {
	for _, text := range []string{"", "a painting in the style of <1>\nsteps: 20", "日本語 ✓"} {
		var b bytes.Buffer
		if err := Encode(&b, picture(), text); err != nil {
			t.Fatal(err)
		}
		got, err := Decode(bytes.NewReader(b.Bytes()))
		if err != nil || got != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
		img, err := png.Decode(&b)
		if err != nil {
			t.Fatalf("the standard library does not read it: %v", err)
		}
		if got, want := img.At(2, 1), picture().At(2, 1); got != want {
			t.Errorf("pixel %v, want %v", got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	var plain bytes.Buffer
	if err := png.Encode(&plain, picture()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"ErrNoText", plain.String(), ErrNoText.Error()},
		{"ErrNotPNG", "GIF89a", "not a PNG file"},
		{"ErrShort", plain.String()[:33] + "\x7f\xff\xff\xffiTXt0000", "cut short"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Decode(strings.NewReader(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := Decode(&plain); !errors.Is(err, ErrNoText) {
		t.Errorf("got %v", err)
	}
}

// withChunk is a PNG file with a chunk that other programs write.
func withChunk(t testing.TB, kind, data string) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, picture()); err != nil {
		t.Fatal(err)
	}
	return b.String()[:33] + string(chunk(kind, []byte(data))) + b.String()[33:]
}

func packed(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ name, kind, data, want, err string }{
		{"Plain", "tEXt", "key\x00text", "text", ""},
		{"OtherKey", "tEXt", "keys\x00text", "", "no text of this keyword"},
		{"Packed", "zTXt", "key\x00\x00" + packed(t, "text"), "text", ""},
		{"International", "iTXt", "key\x00\x00\x00de\x00Schlüssel\x00text ✓", "text ✓", ""},
		{"InternationalPacked", "iTXt", "key\x00\x01\x00\x00\x00" + packed(t, "text ✓"), "text ✓", ""},
		{"ErrMethod", "zTXt", "key\x00\x07" + packed(t, "text"), "", "unknown way"},
		{"ErrEmpty", "zTXt", "key\x00", "", "unknown way"},
		{"ErrPacked", "zTXt", "key\x00\x00text", "", "damaged"},
		{"ErrLanguage", "iTXt", "key\x00\x00\x00de", "", "damaged"},
		{"ErrBomb", "zTXt", "key\x00\x00" + packed(t, strings.Repeat("x", maxText+1)), "", "unpacks to more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Text(strings.NewReader(withChunk(t, tt.kind, tt.data)), "key")
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := Encode(&b, picture(), "text"); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(signature + "\xff\xff\xff\xffiTXt"))
	f.Add([]byte(withChunk(f, "zTXt", Keyword+"\x00\x00"+packed(f, "text"))))
	f.Add([]byte(withChunk(f, "iTXt", Keyword+"\x00\x01\x00\x00\x00"+packed(f, "text"))))
	f.Fuzz(func(t *testing.T, raw []byte) { Decode(bytes.NewReader(raw)) })
}
