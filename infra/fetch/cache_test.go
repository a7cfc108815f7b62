package fetch

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

func TestFetchAsksWhetherItChanged(t *testing.T) {
	var full, unchanged atomic.Int32
	version := "one"
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+version+`"`)
		if r.Header.Get("If-None-Match") == `"`+version+`"` {
			unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		fmt.Fprint(w, "content "+version)
	})
	dir := t.TempDir()
	fetch := func(want string) {
		t.Helper()
		// A Fetcher of its own each time, as another process has.
		f, err := open(t, Options{Dir: dir, AllowLoopback: true}).Fetch(t.Context(), url+"/a.safetensors")
		if err != nil || read(t, f) != want || f.Name != "a.safetensors" {
			t.Fatalf("got %+v, %v, want %q", f, err, want)
		}
		f.Done()
	}
	fetch("content one")
	fetch("content one")
	fetch("content one")
	if full.Load() != 1 || unchanged.Load() != 2 {
		t.Errorf("%d transfers and %d answers of no change, want 1 and 2", full.Load(), unchanged.Load())
	}
	version = "two"
	fetch("content two")
	if err := os.RemoveAll(filepath.Join(dir, "content")); err != nil {
		t.Fatal(err)
	}
	fetch("content two") // the note of the URL alone is of no use
	if full.Load() != 3 {
		t.Errorf("%d transfers, want 3", full.Load())
	}
}

func add(t *testing.T, c *Cache, content string) File {
	t.Helper()
	f, err := c.Add(strings.NewReader(content), "name")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// age makes content look as if it was last used that long ago.
func age(t *testing.T, c *Cache, f File, d time.Duration) {
	t.Helper()
	at := time.Now().Add(-d)
	if err := os.Chtimes(c.content(f.SHA256), at, at); err != nil {
		t.Fatal(err)
	}
}

func TestCacheLimit(t *testing.T) {
	c, err := OpenCache(t.TempDir(), 25)
	if err != nil {
		t.Fatal(err)
	}
	a, b := add(t, c, "aaaaaaaaaa"), add(t, c, "bbbbbbbbbb")
	age(t, c, a, 2*time.Hour)
	age(t, c, b, time.Hour)
	if f, ok := c.Open(a.SHA256, "again"); !ok { // now b is the one used least recently
		t.Fatal("a is not cached")
	} else {
		f.Done()
	}
	d := add(t, c, "dddddddddd")
	for name, c2 := range map[string]struct {
		f    File
		want bool
	}{"a": {a, true}, "b": {b, false}, "d": {d, true}} {
		f, ok := c.Open(c2.f.SHA256, "x")
		if ok != c2.want {
			t.Errorf("%s is cached: %v, want %v", name, ok, c2.want)
		}
		if ok {
			f.Done()
		}
	}
	if read(t, b) != "bbbbbbbbbb" {
		t.Error("a file in use left with the cache")
	}
	big := add(t, c, strings.Repeat("x", 100)) // larger than the cache: for its user alone
	if _, ok := c.Open(big.SHA256, "x"); ok || read(t, big) != strings.Repeat("x", 100) {
		t.Error("a file larger than the cache was kept, or is not readable")
	}
	for _, f := range []File{a, b, d, big} {
		f.Done()
	}
	if left, _ := os.ReadDir(filepath.Join(c.dir, "held")); len(left) > 0 {
		t.Errorf("%d links are left", len(left))
	}
}

func TestCacheSameContent(t *testing.T) {
	c, err := OpenCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := c.Add(strings.NewReader("same"), "x")
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Done()
			if b, err := os.ReadFile(f.Path); err != nil || string(b) != "same" {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if files, _ := os.ReadDir(filepath.Join(c.dir, "content")); len(files) != 1 {
		t.Errorf("%d files for one content", len(files))
	}
}

func TestCacheFailedBodyLeavesNothing(t *testing.T) {
	c, err := OpenCache(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Add(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)), "x"); err == nil {
		t.Error("a body that broke was stored")
	}
	for _, sub := range []string{"content", "held"} {
		if left, _ := os.ReadDir(filepath.Join(c.dir, sub)); len(left) > 0 {
			t.Errorf("%d files are left in %s", len(left), sub)
		}
	}
}

func TestOpenCacheRemovesAbandoned(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenCache(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(dir, "held", "old"), filepath.Join(dir, "held", "young")
	for _, p := range []string{old, young} {
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, at, at); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCache(dir, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("what a crashed process left is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a file in use was removed")
	}
}
