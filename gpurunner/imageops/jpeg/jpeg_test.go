package jpeg

import (
	"bytes"
	"errors"
	"image"
	stdjpeg "image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func pictures(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("../testdata/*.jpg")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		if all[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// The planes are those of the standard library's decoder, but for how the last bit is rounded. (That they are libjpeg's
// to the bit is shown in imageops.)
func TestAgainstStandardLibrary(t *testing.T) {
	for name, data := range pictures(t) {
		t.Run(name, func(t *testing.T) { sameAsStandard(t, data) })
	}
}

func sameAsStandard(t *testing.T, data []byte) {
	t.Helper()
	got, err := Decode(data, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stdjpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if m.Bounds().Dx() != got.Width || m.Bounds().Dy() != got.Height {
		t.Fatalf("got %d×%d, want %v", got.Width, got.Height, m.Bounds())
	}
	type plane struct {
		pix    []uint8
		stride int
	}
	var want []plane
	switch m := m.(type) {
	case *image.Gray:
		want = []plane{{m.Pix, m.Stride}}
	case *image.YCbCr:
		want = []plane{{m.Y, m.YStride}, {m.Cb, m.CStride}, {m.Cr, m.CStride}}
	default:
		return // converted already
	}
	for i, c := range got.Components {
		for y := range c.Height {
			for x := range c.Width {
				g, w := int(c.Pix[y*c.Stride+x]), int(want[i].pix[y*want[i].stride+x])
				if g-w > 1 || w-g > 1 {
					t.Fatalf("plane %d at (%d,%d): got %d, want %d", i, x, y, g, w)
				}
			}
		}
	}
}

func TestErrors(t *testing.T) {
	base := pictures(t)["sub422.jpg"]
	sof := bytes.Index(base, []byte{0xff, 0xc0})
	sos := bytes.Index(base, []byte{0xff, 0xda})
	edit := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), base...)) }
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"ErrEmpty", nil, "no start of image"},
		{"ErrTruncatedHeader", base[:sof+6], "truncated"},
		{"ErrTruncatedScan", base[:sos+40], "truncated"},
		{"ErrNoScan", base[:sos], "truncated"},
		{"ErrTwelveBit", edit(func(b []byte) []byte { b[sof+4] = 12; return b }), "12 bits"},
		{"ErrLossless", edit(func(b []byte) []byte { b[sof+1] = 0xc3; return b }), "not supported"},
		{"ErrNoHeight", edit(func(b []byte) []byte { b[sof+5], b[sof+6] = 0, 0; return b }), "size is"},
		{"ErrSampling", edit(func(b []byte) []byte { b[sof+11] = 0x31; b[sof+14] = 0x21; return b }), "sampled"},
		{"ErrTooLarge", edit(func(b []byte) []byte { b[sof+5] = 0xff; b[sof+7] = 0xff; return b }), ErrTooLarge.Error()},
		{"ErrQuantizer", edit(func(b []byte) []byte { b[sof+12] = 3; return b }), "quantization table"},
		{"ErrTwoFrames", edit(func(b []byte) []byte { return append(b[:sos], base[sof:]...) }), "two frame headers"},
		{"ErrScanFirst", edit(func(b []byte) []byte { return append(b[:2], base[sos:]...) }), "without a frame header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Decode(tc.data, 1<<20)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if tc.name == "ErrTooLarge" && !errors.Is(err, ErrTooLarge) {
				t.Error("is no ErrTooLarge")
			}
		})
	}
}

func TestHuffmanErrors(t *testing.T) {
	for name, perLength := range map[string][16]byte{
		"ErrThreeOfOneBit": {3},
		"ErrOverfull":      {2, 1},
		"ErrDeep":          {0, 0, 0, 0, 0, 0, 0, 255, 4},
	} {
		values := make([]byte, 259)
		if _, err := newHuffman(perLength[:], values); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// One value alone makes a flat block; the largest ones are cut, not wrapped.
func TestInverse(t *testing.T) {
	var ones [64]uint16
	for i := range ones {
		ones[i] = 1
	}
	for dc, want := range map[int16]uint8{0: 128, 8: 129, -8: 127, 80: 138, 32767: 255, -32768: 0} {
		var out [64]uint8
		inverse(&block{dc}, &ones, out[:], 8)
		for i, v := range out {
			if v != want {
				t.Fatalf("DC %d: sample %d is %d, want %d", dc, i, v, want)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, data := range pictures(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data, 1<<16)
		if err != nil {
			return
		}
		for _, c := range p.Components {
			if len(c.Pix) < c.Stride*c.Height || c.Width > c.Stride {
				t.Errorf("a plane of %d bytes for %d×%d", len(c.Pix), c.Stride, c.Height)
			}
		}
	})
}
