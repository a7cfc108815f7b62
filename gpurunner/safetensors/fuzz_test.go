package safetensors

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzOpen: any bytes either give an error or a file all of whose tensors can be read and that writes back.
func FuzzOpen(f *testing.F) {
	for _, c := range faults {
		if len(c.file) < 1<<14 {
			f.Add(c.file)
		}
	}
	f.Add(odd)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := OpenBytes("fuzz", b)
		if err != nil {
			return
		}
		var entries []Entry
		total := 0
		for _, info := range file.Tensors() {
			x, ok := file.Lookup(info.Name)
			if !ok {
				t.Fatalf("%q is listed and not found", info.Name)
			}
			total += len(x.Bytes())
			if x.Len()*x.DType.Size() != len(x.Bytes()) {
				t.Fatalf("%q: %d elements, %d bytes", info.Name, x.Len(), len(x.Bytes()))
			}
			_, _ = x.Float32()
			_, _ = x.Int64()
			entries = append(entries, FromTensor(x))
		}
		if header := int(binary.LittleEndian.Uint64(b)); header+8+total != len(b) {
			t.Fatalf("%d bytes of header and %d of tensors in a file of %d", header, total, len(b))
		}
		var out bytes.Buffer
		if err := Write(&out, entries, file.Metadata()); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBytes("again", out.Bytes()); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzRoundTrip: what Write accepts, OpenBytes gives back unchanged.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a", "b", "key", "value", []byte{1, 2, 3, 4})
	f.Add("<s1>", "unet:10:up", "<s1>", "<embed>", []byte{})
	f.Add("a\"\\\n\u2028", "\x00", "", "\U0001f600", []byte{0xff})
	f.Add("same", "same", "__metadata__", "{}", []byte{0})
	f.Add("__metadata__", "\xff", "\xff", "", []byte{0, 0})
	f.Fuzz(func(t *testing.T, a, b, key, value string, data []byte) {
		entries := []Entry{
			{Info: Info{Name: a, DType: U8, Shape: []int{len(data)}}, Data: data},
			{Info: Info{Name: b, DType: F16, Shape: []int{len(data) / 2, 1}}, Data: data[:len(data)/2*2]},
		}
		meta := map[string]string{key: value}
		var out bytes.Buffer
		if err := Write(&out, entries, meta); err != nil {
			return
		}
		file, err := OpenBytes("fuzz", out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := file.Metadata(); len(got) != 1 || got[key] != value {
			t.Fatalf("metadata: got %q, want %q", got, meta)
		}
		for _, e := range entries {
			x, ok := file.Lookup(e.Name)
			if !ok || !bytes.Equal(x.Bytes(), e.Data) || x.DType != e.DType {
				t.Fatalf("%q differs", e.Name)
			}
		}
	})
}
