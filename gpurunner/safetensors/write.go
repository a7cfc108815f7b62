package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/lowrank/lowrank/gpurunner/atomicfile"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
)

// Entry is one tensor to write. Its little-endian elements come from Data or, where that is nil, from Source,
// which is asked once and must write exactly as many bytes as type and shape say.
type Entry struct {
	Info
	Data   []byte
	Source io.WriterTo
}

// FromFloat32s makes an entry of values, rounded to dtype (F32, F16 or BF16) while it is written. The slice
// is read when the file is written, not before.
func FromFloat32s(name string, dtype DType, shape []int, values []float32) Entry {
	return Entry{Info: Info{Name: name, DType: dtype, Shape: shape}, Source: floatSource{name, dtype, values}}
}

// FromTensor makes an entry that copies t as it is.
func FromTensor(t Tensor) Entry {
	return Entry{Info: t.Info, Source: tensorSource{t}}
}

// Write writes a whole file: the header, padded with spaces to a multiple of 8, and the data. Larger element types
// come first and names decide among equals, so every tensor is aligned for its type, and the same tensors and
// metadata give the same bytes whatever their order. Metadata may be nil.
func Write(w io.Writer, tensors []Entry, metadata map[string]string) error {
	order := make([]*Entry, len(tensors))
	seen := make(map[string]bool, len(tensors))
	for i := range tensors {
		e := &tensors[i]
		order[i] = e
		if err := e.validate(); err != nil {
			return err
		}
		if seen[e.Name] {
			return fmt.Errorf("write safetensors: tensor %q is given twice", shorten(e.Name))
		}
		seen[e.Name] = true
	}
	slices.SortFunc(order, func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	text, err := headerText(order, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write safetensors header: %w", err)
	}
	for _, e := range order {
		if err := e.writeTo(w); err != nil {
			return fmt.Errorf("write safetensors: tensor %q: %w", shorten(e.Name), err)
		}
	}
	return nil
}

// WriteFile writes a file at path as Write does. It appears whole or not at all, see [atomicfile.Write].
func WriteFile(path string, tensors []Entry, metadata map[string]string) error {
	return atomicfile.Write(path, 0o644, func(w io.Writer) error { return Write(w, tensors, metadata) })
}

func (e *Entry) validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("write safetensors: tensor %q "+format, append([]any{shorten(e.Name)}, args...)...)
	}
	length, ok := byteLength(e.DType, e.Shape)
	switch {
	case e.Name == metadataKey:
		return fail("has the name that the format keeps for metadata")
	case !utf8.ValidString(e.Name):
		return fail("has a name that is not UTF-8")
	case e.DType.Size() == 0:
		return fail("has the unknown element type %q", string(e.DType))
	case !ok:
		return fail("has an impossible shape %v", e.Shape)
	case e.Source == nil && uint64(len(e.Data)) != length:
		return fail("has %d bytes, but %s of shape %v takes %d", len(e.Data), e.DType, e.Shape, length)
	}
	return nil
}

func (e *Entry) writeTo(w io.Writer) error {
	want, _ := byteLength(e.DType, e.Shape)
	if e.Source == nil {
		_, err := w.Write(e.Data)
		return err
	}
	c := &limitedWriter{w: w, left: want}
	if _, err := e.Source.WriteTo(c); err != nil {
		return err
	}
	if c.left > 0 {
		return fmt.Errorf("its source wrote %d of %d bytes", want-c.left, want)
	}
	return nil
}

// limitedWriter passes on what an entry was declared to have, and refuses more.
type limitedWriter struct {
	w    io.Writer
	left uint64
}

func (c *limitedWriter) Write(b []byte) (int, error) {
	if uint64(len(b)) > c.left {
		return 0, fmt.Errorf("its source writes %d bytes more than its shape has", uint64(len(b))-c.left)
	}
	n, err := c.w.Write(b)
	c.left -= uint64(n)
	return n, err
}

// headerText is the 8-byte length and the JSON. Metadata come first, by sorted keys, then the tensors in the order
// of their data.
func headerText(order []*Entry, metadata map[string]string) ([]byte, error) {
	b := append(make([]byte, 8), '{')
	if len(metadata) > 0 {
		keys := make([]string, 0, len(metadata))
		for k, v := range metadata {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("write safetensors: metadata %q is not UTF-8", shorten(k))
			}
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, `"`+metadataKey+`":{`...)
		for i, k := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			b = appendString(b, metadata[k])
		}
		b = append(b, '}')
	}
	var at uint64
	for i, e := range order {
		if i > 0 || len(metadata) > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, e.Name), `:{"dtype":"`...)
		b = append(append(b, e.DType...), `","shape":[`...)
		for j, s := range e.Shape {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(s), 10)
		}
		n, _ := byteLength(e.DType, e.Shape)
		b = strconv.AppendUint(append(b, `],"data_offsets":[`...), at, 10)
		at += n
		b = append(strconv.AppendUint(append(b, ','), at, 10), "]}"...)
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if len(b)-8 > maxHeader {
		return nil, fmt.Errorf("write safetensors: the header would take %d bytes, the limit is %d", len(b)-8, maxHeader)
	}
	for i, n := 0, uint64(len(b)-8); i < 8; i++ {
		b[i] = byte(n >> (8 * i))
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // "<s1>" stays readable
	_ = enc.Encode(s)        // a string always encodes
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

type floatSource struct {
	name   string
	dtype  DType
	values []float32
}

func (s floatSource) WriteTo(w io.Writer) (int64, error) {
	var convert func([]byte, []float32) []byte
	switch s.dtype {
	case F32:
		convert = half.AppendF32
	case F16:
		convert = half.AppendF16
	case BF16:
		convert = half.AppendBF16
	default:
		return 0, fmt.Errorf("float32 values cannot be written as %s", s.dtype)
	}
	var total int64
	buf := make([]byte, 0, 1<<16)
	for chunk := range slices.Chunk(s.values, 1<<14) {
		n, err := w.Write(convert(buf, chunk))
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

type tensorSource struct{ t Tensor }

func (s tensorSource) WriteTo(w io.Writer) (int64, error) {
	b, err := s.t.source(s.t.Len())
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}
