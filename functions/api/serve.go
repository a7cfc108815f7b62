package api

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Outputs and uploads are served without a token, at paths that no one guesses, directly and never by a
// redirect, which one client does not follow. What a user uploaded must not become a page of this
// origin: it is sandboxed and its type is not guessed by browsers.

// serveOutput is GET /pbxt/{secret}/{name}.
func (s *server) serveOutput(c *call) error {
	return s.serveBlob(c, events.OutputKeyOfPath(c.PathValue("secret"), c.PathValue("name")))
}

// serveUpload is GET /serving/{token}/{name}; 404 before the PUT.
func (s *server) serveUpload(c *call) error {
	return s.serveBlob(c, events.UploadKey(c.PathValue("token"), c.PathValue("name")))
}

func (s *server) serveBlob(c *call, key string) error {
	if infra.CheckKey(key) != nil {
		return notFound()
	}
	info, err := s.Ports.Blobs.Stat(c.Context(), key, "")
	if err != nil {
		return err
	}
	h := c.Header()
	h.Set("Content-Type", contentTypeOf(info))
	h.Set("ETag", `"`+info.ETag+`"`)
	h.Set("Cache-Control", "public,max-age=3600")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	body := &blobReader{ctx: c.Context(), blobs: s.Ports.Blobs, info: info}
	defer body.Close()
	// ServeContent does Range, HEAD, If-None-Match and 416. Without a time it compares ETags alone.
	w := &ranged{ResponseWriter: c.ResponseWriter}
	http.ServeContent(w, c.Request, "", info.Modified, body)
	if w.refused {
		return &problem{status: http.StatusRequestedRangeNotSatisfiable, title: "Range Not Satisfiable", detail: "The file does not have the range of bytes that was asked for."}
	}
	return nil
}

// ranged holds back ServeContent's refusal of a range, for one in the form of all errors here. Content-Range, which says
// what there is, stays.
type ranged struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (w *ranged) WriteHeader(status int) {
	if w.refused = status == http.StatusRequestedRangeNotSatisfiable; !w.refused {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (w *ranged) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// contentTypeOf is what a blob is served as.
func contentTypeOf(info infra.BlobInfo) string {
	if t := info.ContentType; t != "" && t != "application/octet-stream" {
		return t
	}
	switch ext := strings.ToLower(path.Ext(info.Key)); ext {
	case ".zip":
		return "application/zip"
	case ".png", ".jpg", ".jpeg", ".webp":
		if t := mime.TypeByExtension(ext); t != "" {
			return t
		}
	}
	return "application/octet-stream"
}

// blobReader reads one generation of a blob from any place, opening it again after a seek.
type blobReader struct {
	ctx    context.Context
	blobs  infra.Blobs
	info   infra.BlobInfo
	offset int64
	open   io.ReadCloser
}

// Seek implements io.Seeker.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.info.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	if offset != b.offset {
		b.Close()
		b.offset = offset
	}
	return offset, nil
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.offset >= b.info.Size {
		return 0, io.EOF
	}
	if b.open == nil {
		blob, err := b.blobs.Get(b.ctx, b.info.Key, infra.GetOptions{Generation: b.info.Generation, Offset: b.offset})
		if err != nil {
			return 0, err
		}
		b.open = blob.Body
	}
	n, err := b.open.Read(p)
	b.offset += int64(n)
	return n, err
}

// Close closes what is open.
func (b *blobReader) Close() error {
	if b.open == nil {
		return nil
	}
	err := b.open.Close()
	b.open = nil
	return err
}
