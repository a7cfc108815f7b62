package torchfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Everything in testdata was written by torch.save: scripts/parity/torchfiles.py.

func open(t *testing.T, name string) any {
	t.Helper()
	v, err := Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// numbers are the elements of tensor k of a file.
func numbers(k, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32((7*k+i)%23-11) / 16
	}
	return out
}

func floats(t *testing.T, v any) []float32 {
	t.Helper()
	x, ok := v.(*Tensor)
	if !ok || x.DType != safetensors.F32 {
		t.Fatalf("%#v is no tensor of float32", v)
	}
	var out []float32
	for b := range slices.Chunk(x.Data, 4) {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return out
}

func TestViews(t *testing.T) {
	d := open(t, "views.pt").(*Dict)
	get := func(key string) any {
		v, ok := d.Get(key)
		if !ok {
			t.Fatalf("no %q", key)
		}
		return v
	}
	whole := numbers(0, 24)
	var turned []float32
	for c := range 4 {
		for r := range 6 {
			turned = append(turned, whole[4*r+c])
		}
	}
	part := []float32{whole[5], whole[6], whole[13], whole[14]}
	for key, want := range map[string][]float32{"whole": whole, "transposed": turned, "part": part} {
		if got := floats(t, get(key)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", key, got, want)
		}
	}
	if s := get("part").(*Tensor).Shape; !slices.Equal(s, []int{2, 2}) {
		t.Errorf("part: shape %v", s)
	}
	for key, want := range map[string]struct {
		dtype safetensors.DType
		shape []int
		bytes int
	}{"bf16": {safetensors.BF16, []int{6, 4}, 48}, "int": {safetensors.I64, []int{2}, 16}, "empty": {safetensors.F32, []int{0}, 0}, "scalar": {safetensors.F64, nil, 8}} {
		x := get(key).(*Tensor)
		if x.DType != want.dtype || !slices.Equal(x.Shape, want.shape) || len(x.Data) != want.bytes {
			t.Errorf("%s: %s %v of %d bytes", key, x.DType, x.Shape, len(x.Data))
		}
	}
	if got, want := fmt.Sprint(get("list").(*List).Items...), fmt.Sprint(int64(1), int64(-1), int64(1<<40), 2.5, true, Tuple{int64(1), int64(2), int64(3), int64(4)}); got != want {
		t.Errorf("list: got %s, want %s", got, want)
	}
	if get("none") != nil || get("text") != "x" {
		t.Errorf("got %v and %v", get("none"), get("text"))
	}
}

func TestParameterDict(t *testing.T) {
	d := open(t, "cat-parameters.pt").(*Dict)
	v, _ := d.Get("string_to_param")
	o, ok := v.(*Object)
	if !ok || o.Class != "torch.nn.modules.container.ParameterDict" {
		t.Fatalf("got %#v", v)
	}
	state, ok := o.State.(*Dict)
	if !ok {
		t.Fatalf("got the state %#v", o.State)
	}
	inner, _ := state.Get("_parameters")
	x, _ := inner.(*Dict).Get("*")
	if got := floats(t, x); !slices.Equal(got, numbers(0, 16)) {
		t.Errorf("got %v", got)
	}
}

// pickled makes a file of a pickle written by hand, with one storage of 4 bytes.
func pickled(code string, more ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	files := append([]string{"archive/data.pkl", code, "archive/data/0", "\x00\x00\x80\x3f"}, more...)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: zip.Store})
		if err == nil {
			_, err = w.Write([]byte(files[i+1]))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// storageOf is the instructions for a storage of a class, tensorOf for a tensor.
func storageOf(class, key string) string {
	return "(X\x07\x00\x00\x00storagectorch\n" + class + "\nX" + string(rune(len(key))) + "\x00\x00\x00" + key + "X\x03\x00\x00\x00cpuK\x01tQ"
}

func tensorOf(offset, size, stride string) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n(" + storageOf("FloatStorage", "0") + offset + size + stride + "\x89}tR"
}

const proto, one, big = "\x80\x02", "K\x01\x85", "J\xff\xff\xff\x7f\x85"

// TestNothingRuns: what would run code is an object without contents.
func TestNothingRuns(t *testing.T) {
	v, err := Parse(pickled(proto + "cos\nsystem\nX\x09\x00\x00\x00touch /xxR\x85\x85."))
	if err == nil {
		t.Errorf("a call without a tuple of arguments gave %#v", v)
	}
	v, err = Parse(pickled(proto + "cos\nsystem\nX\x07\x00\x00\x00touch x\x85R."))
	if o, ok := v.(*Object); err != nil || !ok || o.Class != "os.system" || o.State != nil {
		t.Errorf("got %#v, %v", v, err)
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct{ name, code, want string }{
		{"Empty", "", "ends too soon"},
		{"NoStop", proto + "N", "ends too soon"},
		{"EmptyStack", proto + ".", "from its stack"},
		{"Mark", proto + "(.", "from its stack"},
		{"TupleWithoutMark", proto + "K\x01t.", "from its stack"},
		{"Protocol", "\x80\x01N.", "protocol 1"},
		{"Instruction", proto + "\xff.", "instruction 0xff"},
		{"Memo", proto + "h\x05.", "from its stack"},
		{"LongText", proto + "X\xff\xff\xff\xff.", "ends too soon"},
		{"BytesTooLong", proto + "\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "ends too soon"},
		{"NotUTF8", proto + "X\x01\x00\x00\x00\xff.", "UTF-8"},
		{"AppendToDict", proto + "}K\x01a.", "as what it is not"},
		{"OddDict", proto + "}(K\x01u.", "as what it is not"},
		{"OutOfBounds", proto + tensorOf("K\x01", one, one) + ".", "does not fit the 4 bytes"},
		{"Huge", proto + tensorOf("K\x00", big, one) + ".", "does not fit the 4 bytes"},
		{"Negative", proto + tensorOf("K\x00", "J\xff\xff\xff\xff\x85", one) + ".", "does not fit"},
		{"NegativeStride", proto + tensorOf("K\x00", one, "J\xff\xff\xff\xff\x85") + ".", "does not fit"},
		{"Ranks", proto + tensorOf("K\x00", one, "K\x01K\x01\x86") + ".", "as what it is not"},
		{"StorageMissing", proto + storageOf("FloatStorage", "7") + ".", `lacks the tensor data "7"`},
		{"StorageClass", proto + storageOf("QInt8Storage", "0") + ".", "tensors of torch.QInt8Storage"},
		{"StorageOutside", proto + storageOf("FloatStorage", "../data.pkl") + ".", "as what it is not"},
	} {
		t.Run("Err"+tt.name, func(t *testing.T) {
			v, err := Parse(pickled(tt.code))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %#v, %v, want %q", v, err, tt.want)
			}
		})
	}
	if v, err := Parse(pickled(proto + tensorOf("K\x00", one, one) + ".")); err != nil || !slices.Equal(floats(t, v), []float32{1}) {
		t.Errorf("the tensor without a fault: %v, %v", v, err)
	}
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"NoZip":     {[]byte("PK\x03\x04 and no more"), "no file that torch.save has written since 2020"},
		"BigEndian": {pickled(proto+"N.", "archive/byteorder", "big"), "not little-endian"},
		"TwoRoots":  {pickled(proto+"N.", "other/data.pkl", "N."), "no data.pkl"},
	} {
		t.Run("Err"+name, func(t *testing.T) {
			if _, err := Parse(tt.data); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.[pb]*")
	if err != nil || len(files) == 0 {
		f.Fatal("no files", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { _, _ = Parse(data) })
}

// FuzzPickle varies the instructions alone, inside of a whole zip.
func FuzzPickle(f *testing.F) {
	f.Add(proto + tensorOf("K\x00", one, one) + ".")
	f.Add(proto + "ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00aK\x01u}b.")
	f.Add(proto + "](K\x01G\x40\x04\x00\x00\x00\x00\x00\x00\x8a\x02\x00\x80\x88N\x87e.")
	f.Add("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94\x8c\x01b\x93)\x81}b.")
	f.Fuzz(func(t *testing.T, code string) {
		if len(code) < 1<<16 {
			_, _ = Parse(pickled(code))
		}
	})
}
