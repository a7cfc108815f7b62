package torchfile

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	maxFile   = 2 << 30 // bytes of a file: full fine-tunings are larger, adapters are not
	maxPickle = 16 << 20
)

// Open reads a file that torch.save wrote. The tensors' bytes are the file's own,
// in memory.
func Open(path string) (any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("it has %d bytes; the limit for such files is %d", info.Size(), maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse is Open of a file in memory, of which the tensors keep parts.
func Parse(data []byte) (any, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("it is no file that torch.save has written since 2020: %w", err)
	}
	files := map[string]*zip.File{}
	root, found := "", 0
	for _, f := range z.File {
		files[f.Name] = f
		if dir, ok := strings.CutSuffix(f.Name, "data.pkl"); ok && strings.Count(f.Name, "/") <= 1 {
			root = dir
			found++
		}
	}
	if found != 1 {
		return nil, errors.New("it is a zip, but none that torch.save has written: it has no data.pkl")
	}
	if f := files[root+"byteorder"]; f != nil {
		if order, err := contents(data, f); err != nil || string(order) != "little" {
			return nil, errors.New("its numbers are not little-endian")
		}
	}
	code, err := contents(data, files[root+"data.pkl"])
	if err != nil {
		return nil, err
	}
	if len(code) > maxPickle {
		return nil, fmt.Errorf("its data.pkl has %d bytes; the limit is %d", len(code), maxPickle)
	}
	known := map[string]*storage{}
	m := &machine{code: code, memo: map[uint32]any{}, budget: 2 * int64(len(data))}
	m.storage = func(class global, key string) (*storage, error) {
		dtype, ok := storageTypes[class.name]
		if !ok || class.module != "torch" {
			return nil, fmt.Errorf("it has tensors of %v, which are not read", class)
		}
		if s := known[key]; s != nil && s.dtype == dtype {
			return s, nil
		}
		f := files[root+"data/"+key]
		if f == nil {
			return nil, fmt.Errorf("it lacks the tensor data %q", key)
		}
		bytes, err := contents(data, f)
		known[key] = &storage{dtype, bytes}
		return known[key], err
	}
	return m.run()
}

// contents are a file's bytes where they lie: torch.save does not pack them.
func contents(data []byte, f *zip.File) ([]byte, error) {
	offset, err := f.DataOffset()
	n := f.CompressedSize64
	if err != nil || f.Method != zip.Store || offset < 0 || uint64(offset) > uint64(len(data)) || n > uint64(len(data))-uint64(offset) {
		return nil, fmt.Errorf("its part %q is damaged or packed", f.Name)
	}
	return data[offset : uint64(offset)+n], nil
}
