package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxHeader is the limit that the format's own library sets.
const maxHeader = 100_000_000

// Far above what any model has; each tensor costs some hundred bytes, and errors show shapes.
const (
	maxTensors = 1 << 16
	maxDims    = 64 // PyTorch's
)

const metadataKey = "__metadata__"

// entry is one tensor as the header has it; begin and end count from the start of the data.
type entry struct {
	Info
	begin, end uint64
}

type header struct {
	entries  []entry // sorted by name
	metadata map[string]string
	data     uint64 // where the data begins in the file
}

// parseHeader reads and checks the header of a whole file.
func parseHeader(name string, file []byte) (*header, error) {
	fail := func(format string, args ...any) error {
		return &FormatError{File: name, Reason: fmt.Sprintf(format, args...)}
	}
	if len(file) < 8 {
		return nil, fail("it has %d bytes, and the length of the header alone takes 8", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeader {
		return nil, fail("its header claims %d bytes, the limit is %d (is it really a .safetensors file?)", n, maxHeader)
	}
	if n > uint64(len(file)-8) {
		return nil, fail("its header claims %d bytes but only %d follow: the file is cut short", n, len(file)-8)
	}
	text := file[8 : 8+n]
	if !utf8.Valid(text) {
		return nil, fail("its header is not UTF-8 text")
	}
	p := headerParser{file: name, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	h, err := p.parse()
	if err != nil {
		return nil, err
	}
	h.data = 8 + n
	if err := h.check(name, uint64(len(file))-h.data); err != nil {
		return nil, err
	}
	return h, nil
}

// check holds every entry to its shape and all together to the data: each begins where the one before it
// ends, and the last ends with the file.
func (h *header) check(name string, length uint64) error {
	order := make([]*entry, len(h.entries))
	for i := range h.entries {
		e := &h.entries[i]
		order[i] = e
		fail := func(format string, args ...any) error {
			return &FormatError{File: name, Tensor: e.Name, Reason: fmt.Sprintf(format, args...)}
		}
		if e.begin > e.end {
			return fail("ends (%d) before it begins (%d)", e.end, e.begin)
		}
		if e.end > length {
			return fail("ends at byte %d of the data, which has %d: the file is cut short or its header wrong", e.end, length)
		}
		want, ok := byteLength(e.DType, e.Shape)
		if !ok {
			return fail("has a shape %v whose size does not fit 64 bits", e.Shape)
		}
		if got := e.end - e.begin; got != want {
			return fail("takes %d bytes, but %s of shape %v takes %d", got, e.DType, e.Shape, want)
		}
	}
	slices.SortFunc(order, func(a, b *entry) int {
		if c := compare(a.begin, b.begin); c != 0 {
			return c
		}
		if c := compare(a.end, b.end); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var at uint64
	for _, e := range order {
		if e.begin < at {
			return &FormatError{File: name, Tensor: e.Name,
				Reason: fmt.Sprintf("begins at byte %d of the data, inside another tensor that ends at %d", e.begin, at)}
		}
		if e.begin > at {
			return &FormatError{File: name, Tensor: e.Name,
				Reason: fmt.Sprintf("begins at byte %d of the data and leaves a hole after byte %d", e.begin, at)}
		}
		at = e.end
	}
	if at != length {
		return &FormatError{File: name, Reason: fmt.Sprintf("its tensors end at byte %d of the data, which has %d", at, length)}
	}
	slices.SortFunc(h.entries, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// byteLength is the number of bytes that a tensor takes, or false when that does not fit an int.
func byteLength(d DType, shape []int) (uint64, bool) {
	n := uint64(1)
	for _, s := range append(shape[:len(shape):len(shape)], d.Size()) {
		hi, lo := bits.Mul64(n, uint64(s))
		if s < 0 || hi != 0 || lo > 1<<63-1 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// headerParser walks the JSON by tokens, because a map would hide duplicate names.
type headerParser struct {
	file string
	dec  *json.Decoder
}

func (p *headerParser) fail(tensor, format string, args ...any) error {
	return &FormatError{File: p.file, Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
}

func (p *headerParser) token(tensor string) (json.Token, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, p.fail(tensor, "has no readable JSON header: %v", err)
	}
	return t, nil
}

func (p *headerParser) parse() (*header, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, p.fail("", "its header is not JSON: %v", err)
	}
	if t != json.Delim('{') {
		return nil, p.fail("", "its header is not a JSON object")
	}
	h := &header{}
	seen := map[string]bool{}
	for p.dec.More() {
		t, err := p.dec.Token()
		if err != nil {
			return nil, p.fail("", "its header is not JSON: %v", err)
		}
		key := t.(string) // inside an object the decoder gives nothing else here
		if seen[key] {
			return nil, p.fail(key, "is listed twice")
		}
		seen[key] = true
		if key == metadataKey {
			if h.metadata, err = p.metadata(); err != nil {
				return nil, err
			}
			continue
		}
		e, err := p.entry(key)
		if err != nil {
			return nil, err
		}
		if h.entries = append(h.entries, e); len(h.entries) > maxTensors {
			return nil, p.fail("", "its header lists more than %d tensors", maxTensors)
		}
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, p.fail("", "its header is not JSON: %v", err)
	}
	if p.dec.More() {
		return nil, p.fail("", "something follows the JSON object in its header")
	}
	return h, nil
}

func (p *headerParser) metadata() (map[string]string, error) {
	t, err := p.token(metadataKey)
	if err != nil {
		return nil, err
	}
	if t == nil { // null
		return nil, nil
	}
	if t != json.Delim('{') {
		return nil, p.fail("", "%s is not an object of strings", metadataKey)
	}
	m := map[string]string{}
	for p.dec.More() {
		k, err := p.token(metadataKey)
		if err != nil {
			return nil, err
		}
		key := k.(string)
		if _, twice := m[key]; twice {
			return nil, p.fail("", "%s lists %q twice", metadataKey, shorten(key))
		}
		v, err := p.token(metadataKey)
		if err != nil {
			return nil, err
		}
		s, ok := v.(string)
		if !ok {
			return nil, p.fail("", "%s has a value for %q that is not a string", metadataKey, shorten(key))
		}
		m[key] = s
	}
	_, err = p.token(metadataKey)
	return m, err
}

func (p *headerParser) entry(name string) (entry, error) {
	e := entry{Info: Info{Name: name}}
	t, err := p.token(name)
	if err != nil {
		return e, err
	}
	if t != json.Delim('{') {
		return e, p.fail(name, "is not described by a JSON object")
	}
	var seen struct{ dtype, shape, offsets bool }
	for p.dec.More() {
		k, err := p.token(name)
		if err != nil {
			return e, err
		}
		field := k.(string)
		var twice bool
		switch field {
		case "dtype":
			twice, seen.dtype = seen.dtype, true
			err = p.dtype(&e)
		case "shape":
			twice, seen.shape = seen.shape, true
			e.Shape, err = p.shape(name)
		case "data_offsets":
			twice, seen.offsets = seen.offsets, true
			err = p.offsets(&e)
		default: // other fields are passed over, as the format's own library does
			var skip json.RawMessage
			if p.dec.Decode(&skip) != nil {
				err = p.fail(name, "has no readable value for %q", shorten(field))
			}
		}
		if err != nil {
			return e, err
		}
		if twice {
			return e, p.fail(name, "has %q twice", field)
		}
	}
	if _, err := p.token(name); err != nil {
		return e, err
	}
	if !seen.dtype || !seen.shape || !seen.offsets {
		return e, p.fail(name, "lacks one of dtype, shape and data_offsets")
	}
	return e, nil
}

func (p *headerParser) dtype(e *entry) error {
	t, err := p.token(e.Name)
	if err != nil {
		return err
	}
	s, ok := t.(string)
	if !ok {
		return p.fail(e.Name, "has a dtype that is not a string")
	}
	e.DType = DType(s)
	if e.DType.Size() == 0 {
		return p.fail(e.Name, "has the element type %q, which is not supported", shorten(s))
	}
	return nil
}

func (p *headerParser) shape(name string) ([]int, error) {
	numbers, err := p.numbers(name, "shape", -1)
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(numbers))
	for i, n := range numbers {
		if n > 1<<63-1 {
			return nil, p.fail(name, "has a dimension of %d, which is too large", n)
		}
		shape[i] = int(n)
	}
	return shape, nil
}

func (p *headerParser) offsets(e *entry) error {
	numbers, err := p.numbers(e.Name, "data_offsets", 2)
	if err != nil {
		return err
	}
	e.begin, e.end = numbers[0], numbers[1]
	return nil
}

// numbers reads an array of non-negative integers, of the given length unless that is negative.
func (p *headerParser) numbers(name, field string, length int) ([]uint64, error) {
	t, err := p.token(name)
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		return nil, p.fail(name, "has a %s that is not an array", field)
	}
	var out []uint64
	for p.dec.More() {
		t, err := p.token(name)
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, p.fail(name, "has a %s with something in it that is not a number", field)
		}
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, p.fail(name, "has the number %s in its %s, where whole numbers from 0 on are due", shorten(number.String()), field)
		}
		if out = append(out, n); len(out) > maxDims {
			return nil, p.fail(name, "has more than %d numbers in its %s", maxDims, field)
		}
	}
	if _, err := p.token(name); err != nil {
		return nil, err
	}
	if length >= 0 && len(out) != length {
		return nil, p.fail(name, "has %d numbers in its %s, which takes %d", len(out), field, length)
	}
	return out, nil
}
