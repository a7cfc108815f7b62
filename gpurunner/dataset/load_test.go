package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

func encode(t testing.TB, p *imageops.Picture) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, p.Image()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCaptions(t *testing.T) {
	good := picture(t, 10, 10)
	data := makeZip(t,
		entry{name: "red_apple-02.png", data: good},
		entry{name: "dogs/rex.JPG", data: jpegPicture(t, 10, 10)},
		entry{name: "dogs/Rex.txt", data: []byte("\ufeffmy dog\r\n  Rex ")},
		entry{name: "dogs/fido (3).png", data: good},
		entry{name: "dogs/caption.txt", data: []byte("a dog")},
		entry{name: "windows.png", data: good},
		entry{name: "windows.txt", data: []byte{0xff, 0xfe, 'o', 0, 'h', 0, 0xe9, 0}},
		entry{name: "123.png", data: good},
	)
	s, err := loadZip(t, data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range s.Pictures {
		got = append(got, fmt.Sprintf("%s: %q from %s", p.Name, p.Caption, p.CaptionFrom))
	}
	want := []string{
		`123.png: "123" from its name`,
		`dogs/fido (3).png: "a dog" from caption.txt`,
		`dogs/rex.JPG: "my dog Rex" from its text file`,
		`red_apple-02.png: "red apple" from its name`,
		`windows.png: "ohé" from its text file`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// withOrientation adds an EXIF block to a JPEG.
func withOrientation(jpeg []byte, o byte) []byte {
	tiff := []byte{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, o, 0, 0, 0, 0, 0, 0}
	block := append([]byte("Exif\x00\x00"), tiff...)
	n := len(block) + 2
	out := append([]byte{0xff, 0xd8, 0xff, 0xe1, byte(n >> 8), byte(n)}, block...)
	return append(out, jpeg[2:]...)
}

// TestOrientation: a picture that lies on its side is turned upright; the
// original left it.
func TestOrientation(t *testing.T) {
	data := makeZip(t, entry{name: "a.jpg", data: withOrientation(jpegPicture(t, 48, 32), 6)})
	for _, original := range []bool{false, true} {
		s, err := loadZip(t, data, func(o *Options) { o.Original = original })
		if err != nil {
			t.Fatal(err)
		}
		p := s.Pictures[0]
		// Red rises to the right as it is stored, downwards once upright.
		red := func(x, y int) int { return int(p.Image.Pix[3*(y*16+x)]) }
		right, down := red(14, 8)-red(1, 8), red(8, 14)-red(8, 1)
		if upright := down > 50 && right < 50; upright == original {
			t.Errorf("original=%v: red rises by %d to the right and %d downwards", original, right, down)
		}
		if want := (Size{32, 48}); !original && p.Original != want {
			t.Errorf("size %v, want %v", p.Original, want)
		}
	}
}

func TestOriginal(t *testing.T) {
	small, large := picture(t, 10, 10), picture(t, 30, 30)
	data := makeZip(t,
		entry{name: "a/x.png", data: small}, entry{name: "b/x.png", data: large}, // of one name: the last wins
		entry{name: "y.v2.jpeg", data: jpegPicture(t, 10, 10)}, entry{name: "y.txt", data: []byte("text")},
		entry{name: "z.PNG", data: small}, entry{name: "w.webp", data: small}, entry{name: "0.mask.png", data: small})
	s, err := loadZip(t, data, func(o *Options) { o.Original = true })
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range s.Pictures {
		got = append(got, fmt.Sprintf("%s %q %d", p.Name, p.Caption, p.Original.W))
	}
	if want := []string{`x.png "x" 30`, `y.v2.jpeg "y" 10`}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s, err = loadZip(t, data)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Pictures) != 5 {
		t.Errorf("%d pictures, want all but the mask", len(s.Pictures))
	}
}

// TestEqualNames: two entries of one path are two pictures.
func TestEqualNames(t *testing.T) {
	s, err := loadZip(t, makeZip(t, entry{name: "a.png", data: picture(t, 10, 10)}, entry{name: "a.png", data: picture(t, 20, 20)}))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Pictures) != 2 || !strings.Contains(strings.Join(s.Notes, "\n"), "is there twice; both are used") {
		t.Errorf("%d pictures, notes %q", len(s.Pictures), s.Notes)
	}
}

func TestFolder(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	good := picture(t, 12, 12)
	write("b.png", good)
	write("sub/a.png", good)
	write("sub/a.txt", []byte("deep"))
	write("notes.doc", []byte("x"))
	if err := os.WriteFile(filepath.Join(outside, "secret.png"), good, 0o644); err != nil {
		t.Fatal(err)
	}
	links := 0
	for name, target := range map[string]string{"link.png": filepath.Join(outside, "secret.png"), "inside.png": "b.png", "folder": outside} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err == nil {
			links++
		}
	}
	s, err := Load(context.Background(), dir, Options{Resolution: 8})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range s.Pictures {
		names = append(names, p.Name+"="+p.Caption)
	}
	if want := []string{"b.png=b", "sub/a.png=deep"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if len(s.Skipped) != links+1 {
		t.Errorf("skipped %v, want notes.doc and %d links", s.Skipped, links)
	}
	var report bytes.Buffer
	if err := s.Report(&report); err != nil || strings.Count(report.String(), "skipped ") != links+1 || !strings.Contains(report.String(), "5 to 100 train best") {
		t.Errorf("report %q (%v)", report.String(), err)
	}
	if _, err := Load(context.Background(), filepath.Join(dir, "missing"), Options{Resolution: 8}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Load(context.Background(), dir, Options{Resolution: 8, Limits: Limits{Entries: 2}}); !errors.Is(err, ErrTooMany) {
		t.Errorf("got %v", err)
	}
	if _, err := Load(context.Background(), filepath.Join(dir, "b.png"), Options{Resolution: 8}); !errors.Is(err, ErrNotAnArchive) {
		t.Errorf("got %v", err)
	}
}

func TestFit(t *testing.T) {
	buckets := Buckets(64, 16)
	for _, tt := range []struct{ w, h, wantW, wantH, bucketW, bucketH int }{
		{100, 100, 64, 64, 64, 64}, {90, 60, 64, 64, 80, 48}, {60, 90, 64, 64, 48, 80}, {300, 100, 64, 64, 80, 48}, {10, 10, 64, 64, 64, 64},
	} {
		data := makeZip(t, entry{name: "a.png", data: picture(t, tt.w, tt.h)})
		square, err := loadZip(t, data, func(o *Options) { o.Resolution = 64 })
		if err != nil {
			t.Fatal(err)
		}
		if got := square.Pictures[0].Size(); got != (Size{tt.wantW, tt.wantH}) {
			t.Errorf("%d×%d became %v", tt.w, tt.h, got)
		}
		bucketed, err := loadZip(t, data, func(o *Options) { o.Resolution, o.Buckets = 64, buckets })
		if err != nil {
			t.Fatal(err)
		}
		p := bucketed.Pictures[0]
		if p.Size() != (Size{tt.bucketW, tt.bucketH}) {
			t.Errorf("%d×%d went into the bucket %v, want %d×%d of %v", tt.w, tt.h, p.Size(), tt.bucketW, tt.bucketH, buckets)
		}
		// The middle of the picture stays in the middle.
		mid := 3 * (p.Size().H/2*p.Size().W + p.Size().W/2)
		if r, g := int(p.Image.Pix[mid]), int(p.Image.Pix[mid+1]); r < 110 || r > 150 || g < 110 || g > 150 {
			t.Errorf("%d×%d: the middle shows %d, %d", tt.w, tt.h, r, g)
		}
	}
}

type fixed []float64

func (f *fixed) Float64() float64 { v := (*f)[0]; *f = (*f)[1:]; return v }

func TestView(t *testing.T) {
	s, err := loadZip(t, makeZip(t, entry{name: "a.png", data: picture(t, 32, 32)}))
	if err != nil {
		t.Fatal(err)
	}
	p := &s.Pictures[0]
	if v := p.View(Augment{Flip: true}, &fixed{0.4}, nil); v.Flipped || !slices.Equal(v.Image.Pix, p.Image.Pix) {
		t.Error("mirrored below a half")
	}
	if v := p.View(Augment{Flip: true}, &fixed{0.5}, nil); !v.Flipped || !slices.Equal(v.Image.Flip().Pix, p.Image.Pix) {
		t.Error("not mirrored from a half on")
	}
	sum := func(p *imageops.Picture) (n int) {
		for _, v := range p.Pix {
			n += int(v)
		}
		return n
	}
	bright := p.View(Augment{Jitter: true}, nil, &fixed{1, 0.5, 0})
	dark := p.View(Augment{Jitter: true}, nil, &fixed{0, 0.5, 0})
	if !(sum(dark.Image) < sum(p.Image) && sum(p.Image) < sum(bright.Image)) {
		t.Error("brightness does not follow its draw")
	}
	if ratio := float64(sum(bright.Image)) / float64(sum(p.Image)); ratio > 1.11 {
		t.Errorf("brighter by %v, want at most a tenth", ratio)
	}
	one := p.View(Augment{Jitter: true}, nil, &fixed{1, 1, 0})
	other := p.View(Augment{Jitter: true}, nil, &fixed{1, 1, 0.9})
	if slices.Equal(one.Image.Pix, other.Image.Pix) {
		t.Error("the order of brightness and contrast is not drawn")
	}
}

func TestSplitAndHash(t *testing.T) {
	var entries []entry
	for i := range 7 {
		entries = append(entries, entry{name: fmt.Sprintf("%d.png", i), data: picture(t, 10+i, 10)})
	}
	load := func(e ...entry) *Set {
		s, err := loadZip(t, makeZip(t, e...))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := load(entries...)
	train, held, err := s.Split(2)
	if err != nil || len(train.Pictures) != 5 || len(held.Pictures) != 2 {
		t.Fatalf("%d and %d pictures (%v)", len(train.Pictures), len(held.Pictures), err)
	}
	if _, _, err := s.Split(7); err == nil {
		t.Error("all pictures were held out")
	}
	slices.Reverse(entries)
	if load(entries...).Hash() != s.Hash() {
		t.Error("the zip's order changes the set")
	}
	for name, other := range map[string]*Set{
		"another picture": load(append([]entry{{name: "x.png", data: picture(t, 9, 9)}}, entries...)...),
		"a caption":       load(append([]entry{{name: "1.txt", data: []byte("one")}}, entries...)...),
	} {
		if other.Hash() == s.Hash() {
			t.Errorf("%s leaves the hash as it was", name)
		}
	}
}

// TestTemplates: the sentences that the original's recorded runs drew are in the
// replay of package train; here their number and shape.
func TestTemplates(t *testing.T) {
	for template, n := range map[Template]int{TemplateObject: 27, TemplateStyle: 19, TemplateNone: 0, "x": 0} {
		s := template.Sentences()
		if len(s) != n {
			t.Errorf("%s: %d sentences, want %d", template, len(s), n)
		}
		for _, sentence := range s {
			if strings.Count(sentence, "{}") != 1 {
				t.Errorf("%q", sentence)
			}
		}
	}
	if got := Fill("a {} b", "<s1>"); got != "a <s1> b" {
		t.Errorf("got %q", got)
	}
}

func TestBuckets(t *testing.T) {
	for _, tt := range []struct{ resolution, step int }{{512, 64}, {64, 16}, {768, 64}, {1024, 64}} {
		for _, b := range Buckets(tt.resolution, tt.step) {
			if b.W%tt.step != 0 || b.H%tt.step != 0 || b.W*b.H > tt.resolution*tt.resolution || b.W > 2*b.H || b.H > 2*b.W {
				t.Errorf("%d: bucket %v", tt.resolution, b)
			}
		}
	}
}
