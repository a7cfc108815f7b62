package dataset

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// listZip lists the files of a zip. Memory is bounded by the limits whatever
// the zip's directory claims.
func listZip(r io.ReaderAt, length int64, l Limits) ([]file, error) {
	if length > l.Archive {
		return nil, refuse(ErrTooLarge, "the zip has %s; the limit is %s: take fewer or smaller pictures", size(length), size(l.Archive))
	}
	// A directory record takes 46 bytes and a name; zip.NewReader keeps one
	// structure for each, so the bytes that it may read bound what it holds.
	metered := &meteredReaderAt{r: r, left: 1<<20 + int64(l.Entries)*512}
	z, err := zip.NewReader(metered, length)
	if metered.left < 0 {
		return nil, refuse(ErrTooMany, "the zip's list of files is larger than %d files need; the limit is %d files: take fewer", l.Entries, l.Entries)
	}
	if err != nil {
		return nil, notZip(r, length, err)
	}
	metered.unlimited = true
	if len(z.File) > l.Entries {
		return nil, refuse(ErrTooMany, "the zip lists %d files; the limit is %d: take fewer", len(z.File), l.Entries)
	}
	var files []file
	for _, f := range z.File {
		mode := f.Mode()
		if mode.IsDir() {
			continue
		}
		out := file{name: f.Name, size: int64(min(f.UncompressedSize64, 1<<62)), packed: int64(min(f.CompressedSize64, 1<<62))}
		const encrypted = 0x1
		switch {
		case mode&fs.ModeSymlink != 0:
			out.reason = "a symbolic link; put the picture itself into the zip"
		case !mode.IsRegular():
			out.reason = "not a regular file"
		case f.Flags&encrypted != 0:
			out.reason = "encrypted; make a zip without a password"
		case f.Method != zip.Store && f.Method != zip.Deflate:
			out.reason = fmt.Sprintf("packed with a method that is not supported (%d); make the zip with ordinary compression", f.Method)
		}
		out.open = f.Open
		files = append(files, out)
	}
	return files, nil
}

// notZip says what a file is that is no zip.
func notZip(r io.ReaderAt, length int64, err error) error {
	if length == 0 {
		return refuse(ErrNotAnArchive, "the file is empty; put the pictures into a zip")
	}
	head := make([]byte, 512)
	n, _ := r.ReadAt(head, 0) // as much as there is
	head = head[:n]
	for _, k := range []struct{ magic, name string }{
		{"Rar!", "a RAR archive"}, {"7z\xbc\xaf", "a 7z archive"}, {"\x1f\x8b", "a gzip file"}, {"BZh", "a bzip2 file"},
		{"\xfd7zXZ", "an xz file"}, {"\x89PNG", "a PNG picture"}, {"\xff\xd8\xff", "a JPEG picture"}, {"%PDF", "a PDF"}, {"<!DOCTYPE", "a web page"}, {"<html", "a web page"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return refuse(ErrNotAnArchive, "the file is %s; put the pictures into a zip", k.name)
		}
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) {
		if errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
			return refuse(ErrNotAnArchive, "the zip has no readable end; its upload or download broke off: fetch or make it again")
		}
	}
	return refuse(errors.Join(ErrNotAnArchive, err), "the file cannot be read as a zip (%v); put the pictures into a zip", err)
}

// meteredReaderAt fails once more than its limit was read.
type meteredReaderAt struct {
	r         io.ReaderAt
	left      int64
	unlimited bool
}

func (m *meteredReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if !m.unlimited {
		if m.left -= int64(len(p)); m.left < 0 {
			return 0, ErrTooMany
		}
	}
	return m.r.ReadAt(p, off)
}
