package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type writerToFunc func(io.Writer) (int64, error)

func (f writerToFunc) WriteTo(w io.Writer) (int64, error) { return f(w) }

func data(name string, d DType, b ...byte) Entry {
	return Entry{Info: Info{Name: name, DType: d, Shape: []int{len(b) / d.Size()}}, Data: b}
}

func TestWriteLayout(t *testing.T) {
	entries := []Entry{
		data("b", U8, 9),
		data("a", F16, 1, 2),
		data("<s1>", F32, 3, 4, 5, 6),
		{Info: Info{Name: "scalar", DType: F32}, Data: []byte{7, 7, 7, 7}},
	}
	var one, two bytes.Buffer
	meta := map[string]string{"z": "1", "<s1>": "<embed>", "quote\"": "line\nend"}
	if err := Write(&one, entries, meta); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(entries)
	if err := Write(&two, entries, meta); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Error("the order of the entries shows in the file")
	}
	n := binary.LittleEndian.Uint64(one.Bytes())
	if n%8 != 0 {
		t.Errorf("the header has %d bytes, not a multiple of 8", n)
	}
	want := `{"__metadata__":{"<s1>":"<embed>","quote\"":"line\nend","z":"1"},` +
		`"<s1>":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"scalar":{"dtype":"F32","shape":[],"data_offsets":[4,8]},` +
		`"a":{"dtype":"F16","shape":[1],"data_offsets":[8,10]},"b":{"dtype":"U8","shape":[1],"data_offsets":[10,11]}}`
	if got := strings.TrimRight(string(one.Bytes()[8:8+n]), " "); got != want {
		t.Errorf("header:\n got %s\nwant %s", got, want)
	}
	if got, want := one.Bytes()[8+n:], []byte{3, 4, 5, 6, 7, 7, 7, 7, 1, 2, 9}; !bytes.Equal(got, want) {
		t.Errorf("data: got %v, want %v", got, want)
	}
	f, err := OpenBytes("one", one.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Metadata(); len(got) != 3 || got["quote\""] != "line\nend" {
		t.Errorf("metadata: got %v", got)
	}
}

func TestWriteNothing(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, nil, nil); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenBytes("empty", b.Bytes()); err != nil || len(f.Tensors()) != 0 {
		t.Errorf("got %v", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	short := writerToFunc(func(w io.Writer) (int64, error) { n, err := w.Write([]byte{1}); return int64(n), err })
	long := writerToFunc(func(w io.Writer) (int64, error) { n, err := w.Write([]byte{1, 2, 3}); return int64(n), err })
	broken := writerToFunc(func(io.Writer) (int64, error) { return 0, errors.New("disk on fire") })
	info := Info{Name: "x", DType: U8, Shape: []int{2}}
	for _, c := range []struct {
		name    string
		entries []Entry
		meta    map[string]string
		want    string
	}{
		{"ErrTwice", []Entry{data("a", U8, 1), data("a", U8, 2)}, nil, `"a" is given twice`},
		{"ErrMetadataName", []Entry{data("__metadata__", U8, 1)}, nil, "keeps for metadata"},
		{"ErrLength", []Entry{{Info: info, Data: []byte{1}}}, nil, "has 1 bytes, but U8 of shape [2] takes 2"},
		{"ErrType", []Entry{{Info: Info{Name: "x", DType: "Q8"}}}, nil, `unknown element type "Q8"`},
		{"ErrShape", []Entry{{Info: Info{Name: "x", DType: U8, Shape: []int{-1}}}}, nil, "impossible shape [-1]"},
		{"ErrName", []Entry{data("\xff", U8, 1)}, nil, "not UTF-8"},
		{"ErrMetadataUTF8", nil, map[string]string{"a": "\xff"}, "not UTF-8"},
		{"ErrSourceShort", []Entry{{Info: info, Source: short}}, nil, "wrote 1 of 2 bytes"},
		{"ErrSourceLong", []Entry{{Info: info, Source: long}}, nil, "1 bytes more"},
		{"ErrSource", []Entry{{Info: info, Source: broken}}, nil, "disk on fire"},
		{"ErrFloatType", []Entry{FromFloat32s("x", I32, []int{1}, []float32{1})}, nil, "cannot be written as I32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.safetensors")
			if err := os.WriteFile(path, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := WriteFile(path, c.entries, c.meta)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if got, _ := os.ReadFile(path); string(got) != "before" {
				t.Errorf("the file that was there now holds %q", got)
			}
			if left, _ := os.ReadDir(dir); len(left) != 1 {
				t.Errorf("%d files left in the folder", len(left))
			}
		})
	}
}

func TestFromFloat32sAndTensor(t *testing.T) {
	values := make([]float32, 40_000) // several chunks
	for i := range values {
		values[i] = float32(i%2048) - 1024 // exact in F16; BF16 keeps 8 bits
	}
	shape := []int{40, 1000}
	var b bytes.Buffer
	if err := Write(&b, []Entry{FromFloat32s("f32", F32, shape, values), FromFloat32s("f16", F16, shape, values),
		FromFloat32s("bf16", BF16, []int{3}, []float32{1.00390625, 1.01171875, 3})}, nil); err != nil {
		t.Fatal(err)
	}
	f, err := OpenBytes("b", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f32", "f16"} {
		x, _ := f.Lookup(name)
		if got, err := x.Float32(); err != nil || !slices.Equal(got, values) {
			t.Errorf("%s differs (%v)", name, err)
		}
	}
	x, _ := f.Lookup("bf16") // both are half way: one goes down to the even neighbour, one up
	if got, _ := x.Float32(); !slices.Equal(got, []float32{1, 1.015625, 3}) {
		t.Errorf("bf16: got %v", got)
	}
	var copied []Entry
	for _, info := range f.Tensors() {
		x, _ := f.Lookup(info.Name)
		copied = append(copied, FromTensor(x))
	}
	var again bytes.Buffer
	if err := Write(&again, copied, nil); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
		t.Errorf("a copy differs (%v)", err)
	}
}

func BenchmarkWriteF16(b *testing.B) {
	values := make([]float32, 1<<20)
	b.SetBytes(2 << 20)
	for b.Loop() {
		if err := Write(io.Discard, []Entry{FromFloat32s("x", F16, []int{1 << 20}, values)}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
