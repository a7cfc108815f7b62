package lora

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// source is an open adapter file.
type source struct {
	name string
	file *safetensors.File
	keys []string // sorted
	meta map[string]string
	info map[string]safetensors.Info
	// peft is adapter_config.json beside the file, empty without one.
	peft map[string]any
}

func newSource(f *safetensors.File) *source {
	s := &source{name: f.Name(), file: f, keys: f.Names(), meta: f.Metadata(), info: map[string]safetensors.Info{}}
	for _, i := range f.Tensors() {
		s.info[i.Name] = i
	}
	return s
}

func (s *source) shape(key string) []int { return s.info[key].Shape }

func (s *source) fail(format string, args ...any) error {
	return &FileError{File: s.name, Reason: fmt.Sprintf(format, args...)}
}

func (s *source) mismatch(format string, args ...any) error {
	return &MismatchError{File: s.name, Reason: fmt.Sprintf(format, args...)}
}

// floats reads a tensor and refuses values that are not finite.
func (s *source) floats(key string) ([]float32, error) {
	t, ok := s.file.Lookup(key)
	if !ok {
		return nil, s.fail("holds no tensor %q", shorten(key))
	}
	v, err := t.Float32()
	if err != nil {
		return nil, s.fail("%v", err)
	}
	for i, x := range v {
		if x-x != 0 {
			return nil, s.fail("tensor %q is not finite: element %d is %v", shorten(key), i, x)
		}
	}
	return v, nil
}

// scalar reads a tensor of one element.
func (s *source) scalar(key string) (float64, error) {
	if n := s.info[key].Len(); n != 1 {
		return 0, s.fail("tensor %q has %d elements, not one", shorten(key), n)
	}
	t, _ := s.file.Lookup(key)
	if whole, err := t.Int64(); err == nil {
		return float64(whole[0]), nil
	}
	v, err := s.floats(key)
	if err != nil {
		return 0, err
	}
	return float64(v[0]), nil
}

// dtype is the element type that most of the keys have.
func (s *source) dtype(keys []string) string {
	counts := map[string]int{}
	for _, k := range keys {
		if i := s.info[k]; len(i.Shape) > 1 {
			counts[string(i.DType)]++
		}
	}
	most := ""
	for _, d := range sorted(counts) {
		if counts[d] > counts[most] {
			most = d
		}
	}
	return most
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
