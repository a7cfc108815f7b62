package safetensors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar; not to be changed
}

// Len is the number of elements.
func (i Info) Len() int {
	n := 1
	for _, s := range i.Shape {
		n *= s
	}
	return n
}

// File is an open safetensors file. Its methods may be called from several goroutines, but for Close.
type File struct {
	name   string
	header *header
	byName map[string]int // index in header.entries

	mu     sync.Mutex
	bytes  []byte             // the whole file; nil once closed
	unmap  func([]byte) error // nil for bytes that were given
	mapped bool
}

// Open maps the file at path. Close gives the mapping back.
//
// A mapped file must not be cut short while it is in use: the operating system would end the process at the
// next read of the missing pages. Replace model files by renaming, never in place.
func Open(path string) (*File, error) {
	// To open a named pipe would wait for somebody to write to it.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open safetensors file: %s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	defer f.Close() // a mapping outlives its descriptor
	return openFile(f, path)
}

func openFile(f *os.File, path string) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open safetensors file: %s is not a regular file", path)
	}
	if info.Size() < 8 { // also because an empty file cannot be mapped
		_, err := parseHeader(path, make([]byte, info.Size()))
		return nil, err
	}
	if int64(int(info.Size())) != info.Size() {
		return nil, fmt.Errorf("open safetensors file: %s is too large for this machine's address space", path)
	}
	b, unmap, err := mapFile(f, int(info.Size()))
	if err != nil {
		return nil, fmt.Errorf("map safetensors file %s: %w", path, err)
	}
	out, err := OpenBytes(path, b)
	if err != nil {
		return nil, errors.Join(err, unmap(b))
	}
	out.unmap, out.mapped = unmap, canForget
	return out, nil
}

// OpenBytes reads a file that is already in memory; name is what errors call it. The bytes must not change
// while the File is in use.
func OpenBytes(name string, b []byte) (*File, error) {
	h, err := parseHeader(name, b)
	if err != nil {
		return nil, err
	}
	f := &File{name: name, header: h, bytes: b, byName: make(map[string]int, len(h.entries))}
	for i := range h.entries {
		f.byName[h.entries[i].Name] = i
	}
	return f, nil
}

// OpenFS opens a file of fsys. The real files of os.DirFS are mapped; a file that has a method Bytes() []byte,
// as the embedded base model's have, is used where it lies; any other is read into memory.
func OpenFS(fsys fs.FS, name string) (*File, error) {
	if info, err := fs.Stat(fsys, name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open safetensors file: %s is not a regular file", name)
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	defer f.Close()
	switch f := f.(type) {
	case *os.File:
		return openFile(f, f.Name())
	case interface{ Bytes() []byte }:
		return OpenBytes(name, f.Bytes())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open safetensors file: %w", err)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read safetensors file %s: %w", name, err)
	}
	return OpenBytes(name, b)
}

// Name is the path or name that the file was opened by.
func (f *File) Name() string { return f.name }

// Metadata returns a copy of the header's __metadata__; it is never nil.
func (f *File) Metadata() map[string]string {
	m := make(map[string]string, len(f.header.metadata))
	for k, v := range f.header.metadata {
		m[k] = v
	}
	return m
}

// Tensors lists all tensors, sorted by name.
func (f *File) Tensors() []Info {
	out := make([]Info, len(f.header.entries))
	for i, e := range f.header.entries {
		out[i] = e.Info
		out[i].Shape = slices.Clone(e.Shape)
	}
	return out
}

// Names lists the names of all tensors, sorted.
func (f *File) Names() []string {
	out := make([]string, len(f.header.entries))
	for i, e := range f.header.entries {
		out[i] = e.Name
	}
	return out
}

// Lookup finds a tensor by its name.
func (f *File) Lookup(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	e := &f.header.entries[i]
	return Tensor{Info: e.Info, file: f, begin: int(f.header.data + e.begin), end: int(f.header.data + e.end)}, true
}

// Forget tells the operating system that t's pages will not be read soon, so that they stop counting as
// this process's memory. They are read again from the file when they are touched. It does nothing for a
// file that is not mapped, and is only a hint elsewhere.
func (f *File) Forget(t Tensor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.file == f && f.mapped && f.bytes != nil && t.begin < t.end {
		forget(f.bytes, t.begin, t.end)
	}
}

// Close gives the mapping back. Bytes that were taken from mapped tensors must not be used afterwards. A
// second Close does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, unmap := f.bytes, f.unmap
	f.bytes, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	if err := unmap(b); err != nil {
		return fmt.Errorf("unmap safetensors file %s: %w", f.name, err)
	}
	return nil
}

func (f *File) slice(begin, end int) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes == nil {
		return nil
	}
	return f.bytes[begin:end:end]
}
