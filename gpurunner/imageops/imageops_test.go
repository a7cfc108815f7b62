package imageops

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// planes is the picture as [3,H,W].
func planes(p *Picture) []uint8 {
	out := make([]uint8, len(p.Pix))
	for i, v := range p.Pix {
		out[i%3*p.Width*p.Height+i/3] = v
	}
	return out
}

func TestParity(t *testing.T) {
	paritytest.Each(t, "imageops", func(t *testing.T, c *paritytest.Case) {
		data, err := os.ReadFile(c.Root.Path("imageops/" + c.Prefix))
		if err != nil {
			t.Fatal(err)
		}
		var all struct{ Target int }
		c.Root.JSON(t, "imageops/expected.json", &all)
		rgb := must(Decode(data, Options{Original: true}))(t)
		resized := must(rgb.ResizeShorter(all.Target))(t)
		if got, want := []float64{float64(resized.Width), float64(resized.Height)}, c.Numbers(t, "resized"); got[0] != want[0] || got[1] != want[1] {
			t.Errorf("resized to %v, want %v", got, want)
		}
		cropped := must(resized.CentreCrop(all.Target))(t)
		for _, name := range c.Names("") {
			switch op, _, _ := strings.Cut(name, "_"); {
			case name == "rgb":
				c.CompareBytes(t, name, rgb.Pix)
			case name == "resize":
				c.CompareBytes(t, name, resized.Pix)
			case name == "crop":
				c.CompareBytes(t, name, cropped.Pix)
			case name == "flip":
				c.CompareBytes(t, name, planes(cropped.Flip()))
			case name == "tensor":
				x := c.Tensor(t, name).HWC()
				if message := paritytest.Diff(x.Shape, x.F32, cropped.Floats(), paritytest.Tolerance{}); message != "" {
					t.Errorf("%s: %s", name, message)
				}
				f := cropped.Floats()
				chw := make([]float32, len(f))
				for i, v := range f {
					chw[i%3*len(f)/3+i/3] = v
				}
				c.Compare(t, name, chw)
			case strings.HasPrefix(name, "lanczos_to_multiple_of_"):
				m, err := strconv.Atoi(strings.TrimPrefix(name, "lanczos_to_multiple_of_"))
				if err != nil {
					t.Fatal(err)
				}
				c.CompareBytes(t, name, must(rgb.ResizeToMultiple(m))(t).Pix)
			case name == "bilinear_up":
				size := c.Numbers(t, "bilinear_up")
				c.CompareBytes(t, name, must(rgb.Resize(int(size[0]), int(size[1]), Bilinear))(t).Pix)
			case op == "brightness" || op == "contrast":
				c.CompareBytes(t, name, jittered(t, resized, name).Pix)
			}
		}
	})
}

// jittered applies what a name like brightness_0.93_then_contrast_1.07 says.
func jittered(t *testing.T, p *Picture, name string) *Picture {
	for _, step := range strings.Split(name, "_then_") {
		op, number, _ := strings.Cut(step, "_")
		factor, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		if op == "brightness" {
			p = p.Brightness(factor)
		} else {
			p = p.Contrast(factor)
		}
	}
	return p
}

func must(p *Picture, err error) func(t *testing.T) *Picture {
	return func(t *testing.T) *Picture {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// Every picture of testdata reads as Pillow reads it, to the bit.
func TestDecodeLikePillow(t *testing.T) {
	files, err := filepath.Glob("testdata/*.png")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	for _, f := range files {
		source, ok := strings.CutSuffix(f, ".png")
		if !ok || filepath.Ext(source) == "" {
			continue
		}
		t.Run(filepath.Base(source), func(t *testing.T) {
			got := must(Decode(read(t, source), Options{Original: true}))(t)
			want := must(Decode(read(t, f), Options{}))(t)
			if got.Width != want.Width || got.Height != want.Height {
				t.Fatalf("got %d×%d, want %d×%d", got.Width, got.Height, want.Width, want.Height)
			}
			for i, v := range want.Pix {
				if got.Pix[i] != v {
					t.Fatalf("at x %d, y %d, channel %d: got %d, want %d", i/3%want.Width, i/3/want.Width, i%3, got.Pix[i], v)
				}
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOrientation(t *testing.T) {
	for file, want := range map[string]int{"testdata/orientation3.png": 3, "testdata/orientation8.webp": 8, "testdata/lossless.webp": 1, "testdata/sub422.jpg": 1} {
		if got := Orientation(read(t, file)); got != want {
			t.Errorf("%s: got %d, want %d", file, got, want)
		}
	}
	root := paritytest.Roots(t)[0]
	if got := Orientation(read(t, root.Path("imageops/jpeg_orientation6.jpg"))); got != 6 {
		t.Errorf("JPEG: got %d, want 6", got)
	}
	upright := must(Decode(read(t, "testdata/orientation8.webp"), Options{}))(t)
	if upright.Width != 23 || upright.Height != 37 {
		t.Errorf("orientation 8 is decoded to %d×%d", upright.Width, upright.Height)
	}
}

// The letters of a 3×2 picture, as stored and as each orientation shows them.
func TestOrient(t *testing.T) {
	p := New(3, 2)
	for i, c := range "abcdef" {
		p.Pix[3*i] = uint8(c)
	}
	for orientation, want := range map[int]string{0: "abc/def", 1: "abc/def", 2: "cba/fed", 3: "fed/cba", 4: "def/abc",
		5: "ad/be/cf", 6: "da/eb/fc", 7: "fc/eb/da", 8: "cf/be/ad", 9: "abc/def"} {
		q := p.Orient(orientation)
		var rows []string
		for y := range q.Height {
			row := ""
			for x := range q.Width {
				row += string(rune(q.Row(y)[3*x]))
			}
			rows = append(rows, row)
		}
		if got := strings.Join(rows, "/"); got != want {
			t.Errorf("%d: got %s, want %s", orientation, got, want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 50, 40))); err != nil {
		t.Fatal(err)
	}
	webp := read(t, "testdata/lossy_37x23.webp")
	for _, tc := range []struct {
		name string
		data []byte
		max  int
		want string
	}{
		{"OK", b.Bytes(), 2000, ""},
		{"ErrTooLarge", b.Bytes(), 1999, "50×40, which is more than 1999 pixels"},
		{"ErrEmpty", nil, 0, ErrFormat.Error()},
		{"ErrGIF", []byte("GIF89a"), 0, ErrFormat.Error()},
		{"ErrTruncatedPNG", b.Bytes()[:60], 0, "png:"},
		{"ErrTruncatedJPEG", []byte("\xff\xd8\xff"), 0, "jpeg:"},
		{"ErrTruncatedWebP", webp[:25], 0, "webp:"},
		// A canvas of one pixel around a frame of 37×23.
		{"ErrFrameLargerThanCanvas", append([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), webp[12:]...), 100, "a frame of 37×23 lies in a canvas of 1×1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Decode(tc.data, Options{MaxPixels: tc.max})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			var large *TooLargeError
			if strings.Contains(tc.want, "more than") && !errors.As(err, &large) {
				t.Errorf("%T is no *TooLargeError", err)
			}
		})
	}
}

func TestGeometryErrors(t *testing.T) {
	p := New(10, 6)
	for name, f := range map[string]func() error{
		"ErrCropOutside":  func() error { _, err := p.Crop(5, 0, 6, 6); return err },
		"ErrCropNegative": func() error { _, err := p.Crop(-1, 0, 2, 2); return err },
		"ErrCentreLarge":  func() error { _, err := p.CentreCrop(8); return err },
		"ErrResizeZero":   func() error { _, err := p.Resize(0, 5, Bilinear); return err },
		"ErrTooSmall":     func() error { _, err := p.ResizeToMultiple(8); return err },
		"ErrTooThin":      func() error { _, err := New(1, 60000).ResizeShorter(64); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A picture of one colour stays so under every resampling: weights sum to one.
func TestResizeKeepsFlat(t *testing.T) {
	for _, side := range []int{1, 2, 3, 7, 64, 65, 200} {
		for _, f := range []Filter{Bilinear, Lanczos} {
			p := New(65, 33)
			for i := range p.Pix {
				p.Pix[i] = []uint8{0, 255, 131}[i%3]
			}
			q := must(p.Resize(side, side+1, f))(t)
			for i, v := range q.Pix {
				if v != p.Pix[i%3] {
					t.Fatalf("to %d: value %d is %d", side, i, v)
				}
			}
		}
	}
}

func BenchmarkResize(b *testing.B) {
	p := New(2000, 1500)
	for b.Loop() {
		if _, err := p.ResizeShorter(512); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/picture")
}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.*")
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPVP8 \x0a\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data, Options{MaxPixels: 1 << 16})
		if err == nil && (len(p.Pix) != 3*p.Width*p.Height || p.Width*p.Height > 1<<16) {
			t.Error(fmt.Sprint(p.Width, p.Height, len(p.Pix)))
		}
	})
}

func FuzzOrientation(f *testing.F) {
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x22Exif\x00\x00MM\x00*\xff\xff\xff\xff\xff\xff"))
	f.Add([]byte("\x89PNG\r\n\x1a\n\xff\xff\xff\xffeXIf"))
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPEXIF\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if o := Orientation(data); o < 1 || o > 8 {
			t.Error(o)
		}
	})
}
