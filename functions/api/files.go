package api

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bodies"
	"github.com/lowrank/lowrank/infra/registry"
)

// createFile is POST /v1/files: multipart/form-data with a part "content" and, in any order, "metadata"
// (the npm client sends it as a file named blob), "filename" and "type". Content is streamed.
func (s *server) createFile(c *call) error {
	if c.ContentLength > s.Limits.File+1<<20 {
		return s.fileTooLarge()
	}
	if err := checkEncoding(c); err != nil {
		return err
	}
	mediaType, params, err := mime.ParseMediaType(c.Request.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/form-data" || params["boundary"] == "" {
		return badRequest("Post the file as multipart/form-data, in a part named content.")
	}
	parts := multipart.NewReader(http.MaxBytesReader(c.ResponseWriter, c.Body, s.Limits.File+1<<20), params["boundary"])
	f := registry.File{ID: events.NewSortableID(s.jobs.Now()), Metadata: map[string]any{}, CreatedAt: events.At(s.jobs.Now())}
	f.Key = events.FileKey(f.ID)
	stored := false
	if err := s.readParts(c, parts, &f, &stored); err != nil {
		if stored {
			_ = s.Ports.Blobs.Delete(c.Context(), f.Key) // no entry names it; what fails here is only space
		}
		return err
	}
	if err := s.reg.AddFile(c.Context(), c.owner, f); err != nil {
		return err
	}
	return c.writeJSON(http.StatusCreated, s.showFile(c, f))
}

func (s *server) fileTooLarge() error {
	return tooLarge("Files must be less than " + megabytes(s.Limits.File) + " in size")
}

func (s *server) readParts(c *call, parts *multipart.Reader, f *registry.File, stored *bool) error {
	var name, contentType, ownName, ownType string
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.multipartError(err)
		}
		switch part.FormName() {
		case "content":
			if *stored {
				return badRequest("There are two parts named content; post one file at a time.")
			}
			ownName, ownType = partName(part), part.Header.Get("Content-Type")
			if err := s.storeContent(c, part, f); err != nil {
				return err
			}
			*stored = true
		case "metadata":
			b, err := fieldOf(part)
			if err != nil {
				return s.multipartError(err)
			}
			if len(b) == 0 {
				continue
			}
			if f.Metadata, err = events.ParseObject(b); err != nil {
				return badRequest("The part metadata must be a JSON object of at most 64 KB.")
			}
		case "filename", "type":
			b, err := fieldOf(part)
			if err != nil {
				return s.multipartError(err)
			}
			if part.FormName() == "filename" {
				name = string(b)
			} else {
				contentType = string(b)
			}
		}
	}
	if !*stored {
		return badRequest("Missing content: post the file in a part named content.")
	}
	f.Name = cleanName(name, ownName)
	f.ContentType = cleanType(contentType, ownType)
	return nil
}

// storeContent streams the part to its blob, hashing as it goes.
func (s *server) storeContent(c *call, part *multipart.Part, f *registry.File) error {
	sha, md := sha256.New(), md5.New()
	body := io.TeeReader(part, io.MultiWriter(sha, md))
	info, err := s.Ports.Blobs.Put(c.Context(), f.Key, body, infra.PutOptions{MaxSize: s.Limits.File})
	switch {
	case errors.Is(err, infra.ErrTooLarge):
		return s.fileTooLarge()
	case err != nil:
		var max *http.MaxBytesError
		if errors.As(err, &max) || errors.Is(err, io.ErrUnexpectedEOF) {
			return s.multipartError(err)
		}
		return err
	}
	f.Size, f.Generation = info.Size, info.Generation
	f.SHA256, f.MD5 = hex.EncodeToString(sha.Sum(nil)), hex.EncodeToString(md.Sum(nil))
	return nil
}

func (s *server) multipartError(err error) error {
	var max *http.MaxBytesError
	if errors.As(err, &max) {
		return s.fileTooLarge()
	}
	if errors.Is(err, bodies.ErrStalled) {
		return err
	}
	return badRequest("The multipart/form-data body is broken or ends too soon.")
}

// fieldOf reads a small part.
func fieldOf(part *multipart.Part) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(part, 64<<10+1))
	if err == nil && len(b) > 64<<10 {
		err = errors.New("field too long")
	}
	return b, err
}

// partName is the file name of a part; raw UTF-8 and the encoded form both come.
func partName(part *multipart.Part) string {
	if n := part.FileName(); n != "" {
		return n
	}
	// mime refuses some raw names; what stands between the quotes is taken then.
	_, rest, ok := strings.Cut(part.Header.Get("Content-Disposition"), `filename="`)
	if !ok {
		return ""
	}
	n, _, _ := strings.Cut(rest, `"`)
	return n
}

// cleanName takes the first name that can be used; slashes are cut off with what is before them.
func cleanName(names ...string) string {
	for _, n := range names {
		n = n[strings.LastIndexAny(n, `/\`)+1:]
		n = strings.Map(func(r rune) rune {
			if r < 0x20 || r == 0x7f {
				return -1
			}
			return r
		}, n)
		for len(n) > 255 {
			_, size := utf8.DecodeLastRuneInString(n)
			n = n[:len(n)-size]
		}
		if n != "" && n != "." && n != ".." && utf8.ValidString(n) {
			return n
		}
	}
	return "file"
}

func cleanType(types ...string) string {
	for _, t := range types {
		if _, _, err := mime.ParseMediaType(t); err == nil && len(t) <= 200 && isPrintable(t) {
			return t
		}
	}
	return "application/octet-stream"
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

func (s *server) showFile(c *call, f registry.File) events.File {
	if f.Metadata == nil {
		f.Metadata = map[string]any{}
	}
	return events.File{
		ID: f.ID, Name: f.Name, ContentType: f.ContentType, Size: f.Size, ETag: f.MD5,
		Checksums: events.Checksums{SHA256: f.SHA256, MD5: f.MD5}, Metadata: f.Metadata, CreatedAt: f.CreatedAt,
		URLs: events.FileURLs{Get: c.links.API + "/v1/files/" + f.ID},
	}
}

// file finds the caller's file that the path names.
func (s *server) file(c *call) (registry.File, error) {
	f, err := s.reg.File(c.Context(), c.owner, c.PathValue("id"))
	if errors.Is(err, infra.ErrNotFound) {
		return f, &problem{status: http.StatusNotFound, title: "Not found", detail: "File not found"}
	}
	return f, err
}

func (s *server) getFile(c *call) error {
	f, err := s.file(c)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, s.showFile(c, f))
}

func (s *server) deleteFile(c *call) error {
	f, err := s.file(c)
	if err != nil {
		return err
	}
	if err := s.reg.DeleteFile(c.Context(), c.owner, f.ID); err != nil {
		return err
	}
	if err := s.Ports.Blobs.Delete(c.Context(), f.Key); err != nil {
		// The entry is gone and with it every way to the blob: only space is lost.
		s.Log.Error("a deleted file's blob stays", "key", f.Key, "error", err)
	}
	c.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) listFiles(c *call) error {
	p, err := parseCursor(c.URL.Query())
	if err != nil {
		return err
	}
	files, next, err := readPage(p, func(f registry.File) string { return f.ID }, func(cursor string, limit int) ([]registry.File, string, error) {
		page, err := s.reg.Files(c.Context(), c.owner, cursor, limit)
		return page.Items, page.Next, err
	})
	if errors.Is(err, infra.ErrInvalid) {
		err = badRequest("The cursor is not one that this server gave.")
	}
	if err != nil {
		return err
	}
	page := events.Page{Results: []any{}}
	for _, f := range files {
		page.Results = append(page.Results, s.showFile(c, f))
	}
	if len(files) > 0 {
		page.Next, page.Previous = p.links(c.links.API+"/v1/files", files[0].ID, next)
	}
	return c.writeJSON(http.StatusOK, page)
}
