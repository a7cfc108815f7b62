package paritytest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
)

// file is a .safetensors file in memory. This reader is small and its own on purpose: what is tested here
// includes the engine's reader.
type file struct {
	path    string
	names   []string // sorted
	entries map[string]entry
	data    []byte
}

type entry struct {
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Offset [2]int `json:"data_offsets"`
}

func readFile(path string) (*file, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("%s: too short for a .safetensors file", path)
	}
	n := binary.LittleEndian.Uint64(data)
	if n > uint64(len(data)-8) {
		return nil, fmt.Errorf("%s: header of %d bytes in a file of %d", path, n, len(data))
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
	f := &file{path: path, entries: map[string]entry{}, data: data[8+n:]}
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		if e.Offset[0] < 0 || e.Offset[1] < e.Offset[0] || e.Offset[1] > len(f.data) {
			return nil, fmt.Errorf("%s: %s: bytes %v of %d", path, name, e.Offset, len(f.data))
		}
		f.entries[name] = e
		f.names = append(f.names, name)
	}
	sort.Strings(f.names)
	return f, nil
}

func (f *file) tensor(name string) (Tensor, error) {
	e, ok := f.entries[name]
	if !ok {
		return Tensor{}, fmt.Errorf("%s holds no tensor %q", f.path, name)
	}
	x := Tensor{Name: name, DType: e.DType, Shape: e.Shape}
	raw := f.data[e.Offset[0]:e.Offset[1]]
	n := x.Len()
	size := map[string]int{"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1}[e.DType]
	if size == 0 || n*size != len(raw) {
		return Tensor{}, fmt.Errorf("%s: %s: %d bytes for %s %v", f.path, name, len(raw), e.DType, e.Shape)
	}
	switch e.DType {
	case "I64":
		x.I64 = make([]int64, n)
		for i := range x.I64 {
			x.I64[i] = int64(binary.LittleEndian.Uint64(raw[8*i:]))
		}
	case "U8", "BOOL":
		x.U8 = append([]uint8{}, raw...)
	default:
		x.F32 = make([]float32, n)
		for i := range x.F32 {
			switch e.DType {
			case "F32":
				x.F32[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
			case "BF16":
				x.F32[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
			case "F16":
				x.F32[i] = fromHalf(binary.LittleEndian.Uint16(raw[2*i:]))
			}
		}
	}
	return x, nil
}

// fromHalf widens an IEEE half.
func fromHalf(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, int(h>>10&31), uint32(h&1023)
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case exp == 0:
		v := float32(frac) / (1 << 24)
		if sign != 0 {
			v = -v
		}
		return v
	}
	return math.Float32frombits(sign | uint32(exp-15+127)<<23 | frac<<13)
}

// before lists how the names that end in suffix begin, sorted.
func (f *file) before(suffix string) []string {
	var found []string
	for _, name := range f.names {
		if rest, ok := strings.CutSuffix(name, suffix); ok {
			found = append(found, rest)
		}
	}
	return found
}
