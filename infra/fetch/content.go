package fetch

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// judged passes a body on unless its first bytes show that it is no file at all:
// a page that a share link, a log-in or an error answers with, or nothing. What a
// server says in Content-Type counts for nothing.
type judged struct {
	r    io.Reader
	head *bytes.Reader
	err  error
}

// sniffed is how many bytes are looked at, as http.DetectContentType does.
const sniffed = 512

func (j *judged) Read(p []byte) (int, error) {
	if j.head == nil {
		head := make([]byte, sniffed)
		n, err := io.ReadFull(j.r, head)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			j.err = err
		} else {
			j.err = judge(head[:n])
		}
		j.head = bytes.NewReader(head[:n])
	}
	if j.err != nil {
		return 0, j.err
	}
	if j.head.Len() > 0 {
		return j.head.Read(p)
	}
	return j.r.Read(p)
}

// judge says what is wrong with a file that begins with head.
func judge(head []byte) error {
	if len(head) == 0 {
		return refuse("the URL answered with an empty file", nil)
	}
	kind, _, _ := strings.Cut(http.DetectContentType(head), ";")
	if kind == "text/html" || kind == "text/xml" || isPage(head) {
		return refuse("the URL answered with a web page, not a file; use the address of the file itself", nil)
	}
	return nil
}

// isPage knows pages that begin with what sniffing does not know, such as a
// fragment without <html>.
func isPage(head []byte) bool {
	text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"))
	return bytes.HasPrefix(text, []byte("<!doctype")) || bytes.HasPrefix(text, []byte("<?xml")) || bytes.HasPrefix(text, []byte("<html"))
}

// nameOf is the file's name: what the answer says, else the last part of the URL
// that it came from after all redirects.
func nameOf(resp *http.Response) string {
	if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition")); err == nil && params["filename"] != "" {
		if name := cleanName(params["filename"]); name != "" {
			return name
		}
	}
	if name := cleanName(resp.Request.URL.Path); name != "" {
		return name
	}
	return "file"
}

// cleanName is the last element of a path in either spelling, without control
// characters, at most 200 bytes long and never "." or "..".
func cleanName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, name))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	if ext := path.Ext(name); len(name) > 200 {
		if len(ext) > 20 {
			ext = ""
		}
		name = name[:200-len(ext)]
		for !utf8.ValidString(name) {
			name = name[:len(name)-1]
		}
		name += ext
	}
	return name
}

// extension names the file of a data: URL by its media type.
func extension(mediaType string) string {
	kind, _, err := mime.ParseMediaType(mediaType)
	if err != nil {
		return ""
	}
	return map[string]string{
		"application/zip": ".zip", "application/x-zip-compressed": ".zip",
		"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp",
	}[kind]
}
