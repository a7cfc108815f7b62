package fetch

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Cache is a folder of files by content, shared by processes. A file in use is a
// link of its own, so it may leave the cache meanwhile.
//
//	DIR/content/SHA256   the files; their time of change is when they were last used
//	DIR/urls/SHA256      what a URL gave last (see urls.go)
//	DIR/held/RANDOM      links of files in use, and files being written
//
// Nothing in it is needed: it may be deleted while nobody runs.
type Cache struct {
	dir   string
	limit int64
	mu    sync.Mutex // one eviction at a time in this process
}

// abandoned is the age at which links and half-written files are no one's any more.
const abandoned = 48 * time.Hour

// OpenCache opens the cache in dir, creating it. limit is in bytes; files in use
// may exceed it for a while.
func OpenCache(dir string, limit int64) (*Cache, error) {
	for _, sub := range []string{"content", "urls", "held"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, cacheError(err)
		}
	}
	c := &Cache{dir: dir, limit: limit}
	c.sweep(filepath.Join(dir, "held"), abandoned)
	c.sweep(filepath.Join(dir, "urls"), 30*24*time.Hour)
	return c, nil
}

// sweep removes what is older than age from a folder.
func (c *Cache) sweep(dir string, age time.Duration) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > age {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func (c *Cache) content(sum string) string { return filepath.Join(c.dir, "content", sum) }

// held is a fresh name in the folder of links.
func (c *Cache) held() string { return filepath.Join(c.dir, "held", rand.Text()) }

// Add stores the bytes of r and opens them as name. If r or the disk fails,
// nothing stays; r's own error is in the chain.
func (c *Cache) Add(r io.Reader, name string) (File, error) {
	part := c.held()
	w, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return File{}, cacheError(err)
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), r)
	if err = errors.Join(err, w.Close()); err != nil {
		os.Remove(part)
		return File{}, cacheError(err)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	file := File{Path: part, Name: name, Size: n, SHA256: sum, Done: func() { os.Remove(part) }}
	// The part is the caller's link already; the cache gets another. Where there
	// are no links, or the disk is full, the caller's file works uncached.
	if n <= c.limit {
		c.makeRoom(n)
		if err := os.Link(part, c.content(sum)); errors.Is(err, fs.ErrExist) {
			c.use(sum)
		}
	}
	return file, nil
}

// Open opens the content with this SHA-256, in hex, as name; ok is false when the
// cache does not have it.
func (c *Cache) Open(sum, name string) (file File, ok bool) {
	if len(sum) != 2*sha256.Size {
		return File{}, false
	}
	path := c.held()
	if err := os.Link(c.content(sum), path); err != nil {
		return File{}, false
	}
	info, err := os.Stat(path)
	if err != nil {
		os.Remove(path)
		return File{}, false
	}
	c.use(sum)
	return File{Path: path, Name: name, Size: info.Size(), SHA256: sum, Done: func() { os.Remove(path) }}, true
}

// use notes that content was used; only the order of leaving depends on it.
func (c *Cache) use(sum string) {
	now := time.Now()
	os.Chtimes(c.content(sum), now, now)
}

// makeRoom removes the content used least recently until size more bytes fit.
func (c *Cache) makeRoom(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, _ := os.ReadDir(filepath.Join(c.dir, "content"))
	var files []fs.FileInfo
	total := size
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, info)
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, info := range files {
		if total <= c.limit {
			return
		}
		if os.Remove(c.content(info.Name())) == nil {
			total -= info.Size()
		}
	}
}

// cacheError gives a failure of the disk its kind and leaves others alone.
func cacheError(err error) error {
	if diskFull(err) {
		return &infra.Error{Op: "fetch cache", Kind: infra.ErrFull, Err: err}
	}
	return err
}
