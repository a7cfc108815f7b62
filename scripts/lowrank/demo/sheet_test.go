package demo

import (
	"bytes"
	"image"
	"image/png"
	"slices"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"
)

// TestWrap: no line is wider than asked, and no word is lost or cut.
func TestWrap(t *testing.T) {
	f, err := newFaces()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		width      int
		want       []string
	}{
		{"OneLine", "a bear", side, []string{"a bear"}},
		{"TwoLines", "<1> in the style of stained glass", side, []string{"<1> in the style of stained", "glass"}},
		{"LongWord", "a Donaudampfschifffahrtsgesellschaft", 60, []string{"a", "Donaudampfschifffahrtsgesellschaft"}},
		{"Empty", "", side, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := wrap(f.text, tt.text, tt.width)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
			for _, line := range got {
				if tt.name != "LongWord" && font.MeasureString(f.text, line) > fixed.I(tt.width) {
					t.Errorf("%q is wider than %d", line, tt.width)
				}
			}
		})
	}
}

// TestContactSheet: the sheet grows with the captions, and shows each picture's pixels as they are.
func TestContactSheet(t *testing.T) {
	dot := image.NewRGBA(image.Rect(0, 0, 2, 2))
	for i := range dot.Pix {
		dot.Pix[i] = 0x80
	}
	size := func(caption string) (image.Image, int) {
		sheet, err := contactSheet("title", []section{{heading: "h", text: "t", rows: []row{{label: "l", cells: []cell{{dot, caption}, {dot, "short"}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(sheet))
		if err != nil {
			t.Fatal(err)
		}
		return m, m.Bounds().Dy()
	}
	m, short := size("short")
	_, long := size("<1> in the style of stained glass on a purple background")
	if long != short+2*line {
		t.Errorf("the sheet is %d high with a caption of one line, %d with one of three", short, long)
	}
	n := 0
	for x := range m.Bounds().Dx() {
		if r, g, b, _ := m.At(x, margin+36+38+1+18).RGBA(); r>>8 == 0x80 && g>>8 == 0x80 && b>>8 == 0x80 {
			n++
		}
	}
	if n != 2*side {
		t.Errorf("%d pixels of two pictures in a row, want %d", n, 2*side)
	}
}

func TestProgress(t *testing.T) {
	const first, second = "100%|██████████| 200/200 [00:10<00:00, 20.00it/s, loss=0.1]\n", "  3%|          | 10/300 [00:01<00:29, 10.00it/s, loss=0.1]\n"
	tests := []struct {
		name, logs         string
		phase, done, total int
	}{
		{"Nothing", "Using seed: 7\n", 0, 0, 0},
		{"First", "Using seed: 7\n  1%|          | 1/200 [00:00<00:10, 20.00it/s]\n", 0, 1, 200},
		{"FirstDone", first, 0, 200, 200},
		{"Second", first + second, 1, 10, 300},
		{"HalfALine", first + " 4%|  ", 0, 200, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if phase, done, total := progress(tt.logs); phase != tt.phase || done != tt.done || total != tt.total {
				t.Errorf("phase %d, %d of %d; want %d, %d of %d", phase, done, total, tt.phase, tt.done, tt.total)
			}
		})
	}
}
