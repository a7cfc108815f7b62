package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
)

// Tensor is one tensor of an open file. It holds no numbers of its own, and is good until the file is closed.
type Tensor struct {
	Info
	file       *File
	begin, end int // in the whole file
	data       []byte
}

// View makes a tensor of bytes in memory: little-endian elements, len(b) as shape and type demand.
func View(info Info, b []byte) (Tensor, error) {
	want, ok := byteLength(info.DType, info.Shape)
	if info.DType.Size() == 0 || !ok || want != uint64(len(b)) {
		return Tensor{}, fmt.Errorf("tensor %q: %d bytes do not make %s of shape %v", shorten(info.Name), len(b), info.DType, info.Shape)
	}
	return Tensor{Info: info, data: b}, nil
}

// Reshaped is the same tensor under another name and shape of as many elements: 1×1 convolutions stored for
// linear layers, and names of other layouts.
func (t Tensor) Reshaped(name string, shape ...int) (Tensor, error) {
	out := t
	out.Name, out.Shape = name, shape
	a, _ := byteLength(t.DType, t.Shape)
	if b, ok := byteLength(t.DType, shape); !ok || a != b {
		return Tensor{}, fmt.Errorf("tensor %q of shape %v cannot be read as %v", shorten(t.Name), t.Shape, shape)
	}
	return out, nil
}

// Renamed is the same tensor under another name.
func (t Tensor) Renamed(name string) Tensor {
	t.Name = name
	return t
}

// File is the file that t lies in, or nil for one made by View.
func (t Tensor) File() *File { return t.file }

// Bytes is the tensor's data, little-endian, row by row, at any alignment. It must not be written to, and not
// be used after the file is closed; of a closed file it is nil.
func (t Tensor) Bytes() []byte {
	if t.file == nil {
		return t.data
	}
	return t.file.slice(t.begin, t.end)
}

// Forget gives the tensor's pages back; see [File.Forget].
func (t Tensor) Forget() {
	if t.file != nil {
		t.file.Forget(t)
	}
}

// Float32s widens the elements of an F32, F16 or BF16 tensor into dst, exactly; len(dst) must be t.Len().
// F64 is rounded to nearest.
func (t Tensor) Float32s(dst []float32) error {
	src, err := t.source(len(dst))
	if err != nil {
		return err
	}
	switch t.DType {
	case F32:
		half.DecodeF32(dst, src)
	case F16:
		half.DecodeF16(dst, src)
	case BF16:
		half.DecodeBF16(dst, src)
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	default:
		return t.wrongType("floating-point numbers (F32, F16, BF16, F64)")
	}
	return nil
}

// Float32 is Float32s into a new slice.
func (t Tensor) Float32() ([]float32, error) {
	dst := make([]float32, t.Len())
	if err := t.Float32s(dst); err != nil {
		return nil, err
	}
	return dst, nil
}

// Int64s reads the elements of an integer or BOOL tensor into dst; len(dst) must be t.Len().
func (t Tensor) Int64s(dst []int64) error {
	src, err := t.source(len(dst))
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	for i := range dst {
		switch t.DType {
		case Bool, U8:
			dst[i] = int64(src[i])
		case I8:
			dst[i] = int64(int8(src[i]))
		case U16:
			dst[i] = int64(le.Uint16(src[2*i:]))
		case I16:
			dst[i] = int64(int16(le.Uint16(src[2*i:])))
		case U32:
			dst[i] = int64(le.Uint32(src[4*i:]))
		case I32:
			dst[i] = int64(int32(le.Uint32(src[4*i:])))
		case I64:
			dst[i] = int64(le.Uint64(src[8*i:]))
		case U64:
			n := le.Uint64(src[8*i:])
			if n > math.MaxInt64 {
				return fmt.Errorf("tensor %q has the element %d, which is too large", shorten(t.Name), n)
			}
			dst[i] = int64(n)
		default:
			return t.wrongType("whole numbers")
		}
	}
	return nil
}

// Int64 is Int64s into a new slice.
func (t Tensor) Int64() ([]int64, error) {
	dst := make([]int64, t.Len())
	if err := t.Int64s(dst); err != nil {
		return nil, err
	}
	return dst, nil
}

func (t Tensor) source(n int) ([]byte, error) {
	if n != t.Len() {
		return nil, fmt.Errorf("tensor %q has %d elements, not %d", shorten(t.Name), t.Len(), n)
	}
	b := t.Bytes()
	if b == nil && n > 0 {
		return nil, fmt.Errorf("tensor %q: %w", shorten(t.Name), ErrClosed)
	}
	return b, nil
}

func (t Tensor) wrongType(want string) error {
	return fmt.Errorf("tensor %q holds %s where %s are needed", shorten(t.Name), t.DType, want)
}
