package dataset

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"strings"
	"testing"
)

// entry is a file of a test's zip.
type entry struct {
	name   string
	data   []byte
	mode   fs.FileMode
	stored bool
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.stored {
			h.Method = zip.Store
		}
		h.SetMode(e.mode | 0o644)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// picture is a PNG of w×h with a gradient that tells left from right and top
// from bottom.
func picture(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, gradient(w, h)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gradient(w, h int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.Set(x, y, color.NRGBA{uint8(x * 255 / w), uint8(y * 255 / h), 90, 255})
		}
	}
	return m
}

func jpegPicture(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, gradient(w, h), &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hugePNG claims w×h pixels of one colour and holds them, packed to nearly
// nothing.
func hugePNG(w, h uint32) []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		binary.Write(&b, binary.BigEndian, uint32(len(data)))
		b.WriteString(kind)
		b.Write(data)
		sum := crc32.NewIEEE()
		io.WriteString(sum, kind)
		sum.Write(data)
		binary.Write(&b, binary.BigEndian, sum.Sum32())
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	chunk("IHDR", append(head, 8, 2, 0, 0, 0))
	chunk("IDAT", bytes.Repeat([]byte{0}, 1000))
	chunk("IEND", nil)
	return b.Bytes()
}

func loadZip(t testing.TB, data []byte, change ...func(o *Options)) (*Set, error) {
	t.Helper()
	o := Options{Resolution: 16}
	for _, c := range change {
		c(&o)
	}
	return LoadZip(context.Background(), bytes.NewReader(data), int64(len(data)), o)
}

// TestSkipped: every file that is not used is named with its reason, and the
// good picture among them is used.
func TestSkipped(t *testing.T) {
	good := picture(t, 20, 20)
	broken := append([]byte(nil), jpegPicture(t, 64, 64)...)
	broken = broken[:len(broken)/3]
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)/2] ^= 0xff
	tests := []struct {
		name string
		entry
		want string
	}{
		{"TextCalledJPG", entry{name: "a.jpg", data: []byte("hello there")}, "it is text, not a JPEG, PNG or WebP picture"},
		{"Empty", entry{name: "a.png"}, "it is empty, not a JPEG"},
		{"OtherData", entry{name: "a.jpg", data: []byte{1, 2, 3, 0}}, "data of another kind"},
		{"CutShort", entry{name: "a.jpg", data: broken}, "broken"},
		{"Damaged", entry{name: "a.png", data: flipped}, "broken"},
		{"Panorama", entry{name: "a.png", data: picture(t, 400, 10)}, "400×10, more than 10 times as long as wide"},
		{"Pixels", entry{name: "a.png", data: hugePNG(10000, 10000)}, "10000×10000, more than 52 megapixels"},
		{"Bomb", entry{name: "a.png", data: make([]byte, 8<<20)}, "unpacks to"},
		{"TooLarge", entry{name: "a.png", data: bytes.Repeat([]byte("abcdefgh"), 9<<20), stored: true}, "the limit for one file is 64.0 MB"},
		{"HEIC", entry{name: "a.HEIC", data: good}, "HEIC pictures cannot be read; save it as JPEG"},
		{"ZipInside", entry{name: "more.zip", data: good}, "an archive inside"},
		{"Program", entry{name: "a.exe", data: good}, "not a JPEG, PNG or WebP picture"},
		{"MacOS", entry{name: "__MACOSX/._a.png", data: good}, "a macOS resource file"},
		{"Hidden", entry{name: ".hidden/a.png", data: good}, "a hidden file"},
		{"Store", entry{name: "x/.DS_Store", data: good}, "a hidden file"},
		{"Thumbs", entry{name: "Thumbs.db", data: good}, "operating system"},
		{"DotDot", entry{name: "../a.png", data: good}, `leads out of the archive`},
		{"DotDotInside", entry{name: "x/../../a.png", data: good}, `leads out of the archive`},
		{"Backslash", entry{name: `..\a.png`, data: good}, `leads out of the archive`},
		{"Absolute", entry{name: "/etc/a.png", data: good}, "absolute path"},
		{"Symlink", entry{name: "a.png", data: []byte("/etc/passwd"), mode: fs.ModeSymlink}, "symbolic link"},
		{"CaptionNotText", entry{name: "a.txt", data: []byte{0xff, 0xfd, 0x80}}, "it is no caption: it is no text in UTF-8"},
		{"CaptionEmpty", entry{name: "a.txt", data: []byte(" \n")}, "it is no caption: it is empty"},
		{"CaptionTooLong", entry{name: "a.txt", data: bytes.Repeat([]byte("word "), 4000)}, "limit for one file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := loadZip(t, makeZip(t, entry{name: "good.png", data: good}, tt.entry))
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Pictures) != 1 || s.Pictures[0].Name != "good.png" {
				t.Errorf("%d pictures are used, want good.png", len(s.Pictures))
			}
			if len(s.Skipped) != 1 || s.Skipped[0].Name != tt.entry.name || !strings.Contains(s.Skipped[0].Reason, tt.want) {
				t.Errorf("skipped %v, want %s: %s", s.Skipped, tt.entry.name, tt.want)
			}
			// Alone it is an error that names it.
			_, err = loadZip(t, makeZip(t, tt.entry))
			if !errors.Is(err, ErrNoPictures) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("alone: got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestRefused: what makes the whole zip unusable.
func TestRefused(t *testing.T) {
	good := picture(t, 20, 20)
	whole := makeZip(t, entry{name: "good.png", data: good})
	encrypted := append([]byte(nil), whole...)
	for _, magic := range []string{"PK\x03\x04", "PK\x01\x02"} {
		at := bytes.Index(encrypted, []byte(magic))
		flags := at + 6
		if magic == "PK\x01\x02" {
			flags = at + 8
		}
		encrypted[flags] |= 1
	}
	many := make([]entry, 40)
	for i := range many {
		many[i] = entry{name: fmt.Sprintf("%03d.png", i), data: good}
	}
	tests := []struct {
		name   string
		data   []byte
		limits Limits
		kind   error
		want   string
	}{
		{"Empty", nil, Limits{}, ErrNotAnArchive, "the file is empty"},
		{"Text", []byte("not a zip at all"), Limits{}, ErrNotAnArchive, "cannot be read as a zip"},
		{"RAR", []byte("Rar!\x1a\x07\x00rest"), Limits{}, ErrNotAnArchive, "a RAR archive; put the pictures into a zip"},
		{"7z", []byte("7z\xbc\xaf\x27\x1c"), Limits{}, ErrNotAnArchive, "a 7z archive"},
		{"PNG", good, Limits{}, ErrNotAnArchive, "the file is a PNG picture; put the pictures into a zip"},
		{"CutShort", whole[:len(whole)-30], Limits{}, ErrNotAnArchive, "broke off"},
		{"NoFiles", makeZip(t), Limits{}, ErrNoPictures, "it holds no files"},
		{"Encrypted", encrypted, Limits{}, ErrNoPictures, "encrypted; make a zip without a password"},
		{"Archive", whole, Limits{Archive: 100}, ErrTooLarge, "the limit is 100 bytes"},
		{"Entries", makeZip(t, many...), Limits{Entries: 39}, ErrTooMany, "the zip lists 40 files; the limit is 39"},
		{"Pictures", makeZip(t, many...), Limits{Pictures: 39}, ErrTooMany, "holds more than 39 pictures; 5 to 100 are enough"},
		{"Total", makeZip(t, many...), Limits{Total: int64(3 * len(good))}, ErrTooLarge, "unpack to more than is allowed in all"},
	}
	for _, tt := range tests {
		t.Run("Err"+tt.name, func(t *testing.T) {
			_, err := loadZip(t, tt.data, func(o *Options) { o.Limits = tt.limits })
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q (%v)", err, tt.want, tt.kind)
			}
		})
	}
}

// TestLyingSizes: what a directory declares is not believed.
func TestLyingSizes(t *testing.T) {
	data := makeZip(t, entry{name: "a.png", data: make([]byte, 3<<20)})
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(data[at+24:], 1000) // uncompressed size
	_, err := loadZip(t, data, func(o *Options) { o.Limits.File = 1 << 20 })
	if !errors.Is(err, ErrNoPictures) || !strings.Contains(err.Error(), "its entry in the zip is damaged; make the zip anew") {
		t.Errorf("got %v", err)
	}
	// A directory of more records than its limit, most of them without a file.
	var many []entry
	for i := range 3000 {
		many = append(many, entry{name: strings.Repeat("x", 2000) + fmt.Sprint(i)})
	}
	_, err = loadZip(t, makeZip(t, many...), func(o *Options) { o.Limits.Entries = 10 })
	if !errors.Is(err, ErrTooMany) || !strings.Contains(err.Error(), "list of files is larger than 10 files need") {
		t.Errorf("got %v", err)
	}
}

// TestZip64: sizes and counts in the format's 64-bit fields.
func TestZip64(t *testing.T) {
	good := picture(t, 20, 20)
	// One stored entry with all sizes in a zip64 extra field, and zip64 end
	// records, written by hand: archive/zip writes them for huge files only.
	var b bytes.Buffer
	le := binary.LittleEndian
	sum, n := crc32.ChecksumIEEE(good), uint64(len(good))
	name := "a.png"
	extra := le.AppendUint16(nil, 1)
	extra = le.AppendUint16(extra, 16)
	extra = le.AppendUint64(le.AppendUint64(extra, n), n)
	local := append([]byte("PK\x03\x04"), 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	local = le.AppendUint32(local, sum)
	local = le.AppendUint32(le.AppendUint32(local, ^uint32(0)), ^uint32(0))
	local = le.AppendUint16(le.AppendUint16(local, uint16(len(name))), uint16(len(extra)))
	b.Write(local)
	b.WriteString(name)
	b.Write(extra)
	b.Write(good)
	start := b.Len()
	central := append([]byte("PK\x01\x02"), 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	central = le.AppendUint32(central, sum)
	central = le.AppendUint32(le.AppendUint32(central, ^uint32(0)), ^uint32(0))
	central = le.AppendUint16(le.AppendUint16(central, uint16(len(name))), uint16(len(extra)))
	central = append(central, make([]byte, 14)...) // comment, disk, attributes, offset 0
	b.Write(central)
	b.WriteString(name)
	b.Write(extra)
	size := b.Len() - start
	end64 := append([]byte("PK\x06\x06"), 44, 0, 0, 0, 0, 0, 0, 0, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	end64 = le.AppendUint64(le.AppendUint64(end64, 1), 1)
	end64 = le.AppendUint64(le.AppendUint64(end64, uint64(size)), uint64(start))
	at := b.Len()
	b.Write(end64)
	locator := append([]byte("PK\x06\x07"), 0, 0, 0, 0)
	b.Write(append(le.AppendUint64(locator, uint64(at)), 1, 0, 0, 0))
	end := append([]byte("PK\x05\x06"), 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)
	b.Write(append(le.AppendUint32(le.AppendUint32(end, ^uint32(0)), ^uint32(0)), 0, 0))
	s, err := loadZip(t, b.Bytes())
	if err != nil || len(s.Pictures) != 1 {
		t.Fatalf("got %v", err)
	}
}

func FuzzZip(f *testing.F) {
	good := picture(f, 9, 7)
	f.Add(makeZip(f, entry{name: "a.png", data: good}, entry{name: "a.txt", data: []byte("a thing")}))
	f.Add(makeZip(f, entry{name: "../a.jpg", data: jpegPicture(f, 9, 9)}, entry{name: "caption.txt", data: []byte("\xff\xfea\x00")}))
	f.Add(makeZip(f, entry{name: "huge.png", data: hugePNG(60000, 60000)}))
	f.Add(makeZip(f, entry{name: "link", data: []byte("/"), mode: fs.ModeSymlink}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{Archive: 1 << 20, File: 1 << 20, Total: 2 << 20, Pixels: 1 << 16, Entries: 100}
		s, err := LoadZip(context.Background(), bytes.NewReader(data), int64(len(data)), Options{Resolution: 8, Limits: limits, Faces: true})
		if err != nil {
			return
		}
		if len(s.Pictures) == 0 {
			t.Fatal("neither an error nor a picture")
		}
		for _, p := range s.Pictures {
			if p.Size() != (Size{8, 8}) || len(p.Image.Pix) != 8*8*3 || p.Mask != nil && len(p.Mask) != 64 {
				t.Fatalf("picture of %v", p.Size())
			}
		}
	})
}
