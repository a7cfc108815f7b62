package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
)

// A urlEntry is what a URL gave last, by the hash of the URL: the URL itself may
// hold a secret. It only spares a transfer: the server is asked each time whether
// its content is still the same, and one that cannot say is read again.
type urlEntry struct {
	SHA256       string `json:"sha256"`
	Name         string `json:"name"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`

	File File `json:"-"`
}

func (c *Cache) urlPath(url string) string {
	sum := sha256.Sum256([]byte(url))
	return filepath.Join(c.dir, "urls", hex.EncodeToString(sum[:]))
}

// openURL opens what url gave last, if the cache still has it and there is a way
// to ask whether it changed.
func (c *Cache) openURL(url string) (urlEntry, bool) {
	var e urlEntry
	b, err := os.ReadFile(c.urlPath(url))
	if err != nil || json.Unmarshal(b, &e) != nil || e.ETag == "" && e.LastModified == "" {
		return urlEntry{}, false
	}
	file, ok := c.Open(e.SHA256, e.Name)
	e.File = file
	return e, ok
}

// condition asks for the content only if it is another.
func (e urlEntry) condition(h http.Header) {
	if e.ETag != "" {
		h.Set("If-None-Match", e.ETag)
	} else {
		h.Set("If-Modified-Since", e.LastModified)
	}
}

// rememberURL notes what url gave. That it fails costs a download later.
func (c *Cache) rememberURL(url string, h http.Header, f File) {
	e := urlEntry{SHA256: f.SHA256, Name: f.Name, ETag: h.Get("ETag"), LastModified: h.Get("Last-Modified")}
	b, err := json.Marshal(e)
	if err != nil {
		return
	}
	part := c.held()
	if os.WriteFile(part, b, 0o600) != nil || os.Rename(part, c.urlPath(url)) != nil {
		os.Remove(part)
	}
}
