package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFaults(t *testing.T) {
	for _, c := range faults {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "broken.safetensors")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want the path and %q in it", err, c.want)
			}
			if len(err.Error()) > 800 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
			if _, again := OpenBytes(path, c.file); again == nil || again.Error() != err.Error() {
				t.Errorf("OpenBytes gives %v, Open %v", again, err)
			}
		})
	}
}

// TestSmallFileSmallAllocation: what the header claims must not decide how much memory is taken.
func TestSmallFileSmallAllocation(t *testing.T) {
	for _, name := range []string{"HeaderOver100MB", "HeaderCut", "ShapeOverflow"} {
		i := slices.IndexFunc(faults, func(f struct {
			name string
			file []byte
			want string
		}) bool {
			return f.name == name
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = OpenBytes(name, faults[i].file)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, got, len(faults[i].file))
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: got %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a folder was opened")
	}
}

// TestTooManyTensors: a header of millions of tensors would take a gigabyte.
func TestTooManyTensors(t *testing.T) {
	var b strings.Builder
	for i := range maxTensors + 1 {
		fmt.Fprintf(&b, `,"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`, i)
	}
	_, err := OpenBytes("many", raw("{"+b.String()[1:]+"}"))
	if err == nil || !strings.Contains(err.Error(), "its header lists more than 65536 tensors") {
		t.Errorf("got %v", err)
	}
}

// odd is a file with every liberty the format allows: a header length that is no multiple of 8, trailing
// spaces, keys in no order, unaligned data, empty tensors, a scalar, unknown fields, null metadata.
var odd = raw(`{"z":{"shape":[2],"dtype":"F32","data_offsets":[1,9],"note":{"x":[1]}},`+
	`"__metadata__":null,"a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},`+
	`"none":{"dtype":"F16","shape":[0,3],"data_offsets":[9,9]}}   `,
	1, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0)

func TestLiberties(t *testing.T) {
	f, err := OpenBytes("odd", odd)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Names(), []string{"a", "none", "z"}; !slices.Equal(got, want) {
		t.Errorf("names: got %v, want %v", got, want)
	}
	if m := f.Metadata(); m == nil || len(m) != 0 {
		t.Errorf("metadata: got %v", m)
	}
	z, _ := f.Lookup("z")
	if got, err := z.Float32(); err != nil || !slices.Equal(got, []float32{1, -2}) {
		t.Errorf("z: got %v, %v", got, err)
	}
	a, _ := f.Lookup("a")
	if got, err := a.Int64(); err != nil || !slices.Equal(got, []int64{1}) || len(a.Shape) != 0 {
		t.Errorf("a: got %v, %v", got, err)
	}
	none, _ := f.Lookup("none")
	if got, err := none.Float32(); err != nil || len(got) != 0 {
		t.Errorf("none: got %v, %v", got, err)
	}
	if _, ok := f.Lookup("absent"); ok {
		t.Error("found a tensor that is not there")
	}
}

func TestMappedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	values := make([]float32, 100_000)
	for i := range values {
		values[i] = float32(i)
	}
	err := WriteFile(path, []Entry{FromFloat32s("w", F32, []int{100, 1000}, values)}, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := f.Lookup("w")
	for range 2 { // the second time after its pages were given back
		got, err := w.Float32()
		if err != nil || !slices.Equal(got, values) {
			t.Fatalf("values differ (%v)", err)
		}
		w.Forget()
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := w.Float32(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	w.Forget() // must do nothing
}

type inMemory struct{ fstest.MapFS }

func TestOpenFS(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "odd.safetensors"), odd, 0o600); err != nil {
		t.Fatal(err)
	}
	real, err := OpenFS(os.DirFS(dir), "odd.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	if real.unmap == nil || !strings.HasPrefix(real.Name(), dir) {
		t.Errorf("a real file was not mapped (name %s)", real.Name())
	}
	read, err := OpenFS(inMemory{fstest.MapFS{"odd.safetensors": {Data: odd}}}, "odd.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.bytes, real.bytes) {
		t.Error("contents differ")
	}
	if _, err := OpenFS(os.DirFS(dir), "absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: got %v", err)
	}
	if _, err := OpenFS(os.DirFS(dir), "."); err == nil {
		t.Error("a folder was opened")
	}
}

func TestConversions(t *testing.T) {
	for _, c := range []struct {
		dtype  DType
		bytes  []byte
		floats []float32
		ints   []int64
	}{
		{F32, []byte{0, 0, 0xc0, 0x7f, 0, 0, 0, 0x80}, []float32{float32(math.NaN()), float32(math.Copysign(0, -1))}, nil},
		{F16, []byte{0, 0x3c, 1, 0}, []float32{1, 0x1p-24}, nil},
		{BF16, []byte{0x80, 0x3f, 0x80, 0xff}, []float32{1, float32(math.Inf(-1))}, nil},
		{F64, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 1, 0, 0, 0, 0, 0, 0xf0, 0x3f}, []float32{1, 1}, nil},
		{Bool, []byte{0, 1}, nil, []int64{0, 1}},
		{U8, []byte{0, 255}, nil, []int64{0, 255}},
		{I8, []byte{0x80, 1}, nil, []int64{-128, 1}},
		{U16, []byte{0xff, 0xff, 1, 0}, nil, []int64{65535, 1}},
		{I16, []byte{0xff, 0xff, 1, 0}, nil, []int64{-1, 1}},
		{U32, []byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, nil, []int64{1<<32 - 1, 1}},
		{I32, []byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, nil, []int64{-1, 1}},
		{I64, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, nil, []int64{-1, 1}},
		{U64, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, nil, nil}, // the first is too large
		{F8E4M3, []byte{1, 2}, nil, nil},
	} {
		t.Run(string(c.dtype), func(t *testing.T) {
			odd := append([]byte{0}, c.bytes...)[1:] // most likely unaligned
			v, err := View(Info{Name: "x", DType: c.dtype, Shape: []int{2}}, odd)
			if err != nil {
				t.Fatal(err)
			}
			floats, err := v.Float32()
			if (err == nil) != (c.floats != nil) {
				t.Fatalf("floats: got %v, %v", floats, err)
			}
			for i := range c.floats {
				if math.Float32bits(floats[i]) != math.Float32bits(c.floats[i]) && c.floats[i] == c.floats[i] {
					t.Errorf("floats: got %v, want %v", floats, c.floats)
				}
			}
			ints, err := v.Int64()
			if (err == nil) != (c.ints != nil) || c.ints != nil && !slices.Equal(ints, c.ints) {
				t.Errorf("ints: got %v, %v, want %v", ints, err, c.ints)
			}
			if err := v.Float32s(make([]float32, 3)); err == nil {
				t.Error("a destination of another length was accepted")
			}
		})
	}
}

func TestReshaped(t *testing.T) {
	v, err := View(Info{Name: "conv", DType: U8, Shape: []int{2, 3, 1, 1}}, []byte{1, 2, 3, 4, 5, 6})
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Reshaped("linear", 2, 3)
	if err != nil || got.Name != "linear" || !slices.Equal(got.Shape, []int{2, 3}) || !bytes.Equal(got.Bytes(), v.Bytes()) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := v.Reshaped("x", 2, 4); err == nil {
		t.Error("a shape of more elements was accepted")
	}
	if _, err := View(v.Info, []byte{1}); err == nil {
		t.Error("a view of too few bytes was accepted")
	}
}

func BenchmarkOpen(b *testing.B) {
	var entries []Entry
	for i := range 700 { // as many as an SD 1.5 UNet has
		entries = append(entries, Entry{Info: Info{Name: "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q." + string(rune('a'+i%26)) + strings.Repeat("x", i/26), DType: U8, Shape: []int{1}}, Data: []byte{1}})
	}
	path := filepath.Join(b.TempDir(), "b.safetensors")
	if err := WriteFile(path, entries, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
