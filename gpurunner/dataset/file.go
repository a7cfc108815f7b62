package dataset

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// file is one entry of a zip or folder.
type file struct {
	name   string // slash path, for people and captions, never for opening
	size   int64  // unpacked, as declared
	packed int64  // 0 where nothing is packed
	reason string // why it cannot be used whatever it holds; "" if it can
	open   func() (io.ReadCloser, error)
}

// base is the file's name without its folder.
func (f file) base() string { return path.Base(f.name) }

// stem is the path without the last extension.
func (f file) stem() string { return strings.TrimSuffix(f.name, path.Ext(f.name)) }

// hidden gives the reason to leave a file out by its name alone, or "".
func hidden(name string) string {
	for _, part := range strings.Split(name, "/") {
		switch {
		case part == "__MACOSX":
			return "a macOS resource file, not a picture"
		case part == "..", strings.ContainsRune(name, '\\') && strings.Contains(name, `..\`):
			return `its name leads out of the archive ("..")`
		case strings.HasPrefix(part, ".") && part != ".":
			return "a hidden file"
		}
	}
	switch strings.ToLower(path.Base(name)) {
	case "thumbs.db", "desktop.ini":
		return "a file of the operating system, not a picture"
	}
	if strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':' {
		return "its name is an absolute path"
	}
	return ""
}

// budget counts down the unpacked bytes that may still be read.
type budget struct{ left int64 }

var errBudget = refuse(ErrTooLarge, "the files unpack to more than is allowed in all: take fewer or smaller ones")

// read returns a file's contents, at most limit bytes. Its error is a reason
// for people; errBudget ends the whole job.
func (b *budget) read(f file, limit, ratio int64) ([]byte, error) {
	if f.size > limit {
		return nil, fmt.Errorf("it has %s; the limit for one file is %s", size(f.size), size(limit))
	}
	const free = 1 << 20 // small files may shrink as much as they like
	if f.packed > 0 && f.size > free && f.size/f.packed > ratio {
		return nil, fmt.Errorf("it unpacks to %d times its packed size, which no picture does (the limit is %d)", f.size/f.packed, ratio)
	}
	if f.size > b.left {
		return nil, errBudget
	}
	r, err := f.open()
	if err != nil {
		return nil, unpackReason(err)
	}
	defer r.Close()
	var out bytes.Buffer
	// What a directory declares is not believed: the true size is bounded too.
	n, err := io.Copy(&out, io.LimitReader(r, min(limit, b.left)+1))
	b.left -= n
	switch {
	case b.left < 0:
		return nil, errBudget
	case n > limit:
		return nil, fmt.Errorf("it unpacks to more than the limit for one file, %s", size(limit))
	case err != nil:
		return nil, unpackReason(err)
	}
	return out.Bytes(), nil
}

// unpackReason says why a file's bytes cannot be had.
func unpackReason(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("its data end too soon; the file or its copy is broken")
	case errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrChecksum):
		return errors.New("its entry in the zip is damaged; make the zip anew")
	default:
		return fmt.Errorf("it cannot be read: %w", err)
	}
}
