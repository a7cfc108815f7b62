package local

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// files counts what lies under blobs/, named or not.
func files(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.dir, "blobs"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUploadHandler(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	h := s.UploadHandler()
	// The URL names the host that the request asked for.
	u, err := s.Ports().Presigner.PresignPut(infra.WithPublicURL(t.Context(), "https://lowrank.example:8010/"), "uploads/x/a b.zip", time.Hour, 10)
	if err != nil || !strings.HasPrefix(u, "https://lowrank.example:8010"+UploadPath+"uploads/x/a%20b.zip?") {
		t.Fatalf("%s, %v", u, err)
	}
	do := func(method, url string, body io.Reader) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, url, body))
		return w
	}
	t.Run("Preflight", func(t *testing.T) {
		w := do("OPTIONS", u, nil)
		if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Methods") != "PUT" {
			t.Errorf("got %d with %v", w.Code, w.Header())
		}
	})
	t.Run("OK", func(t *testing.T) {
		w := do("PUT", u, strings.NewReader("zip"))
		if w.Code != 200 || len(w.Header().Get("ETag")) != 34 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("got %d with %v", w.Code, w.Header())
		}
	})
	before := files(t, s)
	t.Run("ErrForbidden", func(t *testing.T) {
		w := do("PUT", u+"0", strings.NewReader("zip"))
		if w.Code != 403 || w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), `"detail":"the signature`) {
			t.Errorf("got %d: %s", w.Code, w.Body)
		}
	})
	t.Run("ErrTooLarge", func(t *testing.T) {
		if w := do("PUT", u, strings.NewReader("eleven byte")); w.Code != 413 || !strings.Contains(w.Body.String(), "may have 10") {
			t.Errorf("got %d: %s", w.Code, w.Body)
		}
	})
	t.Run("ErrClientGone", func(t *testing.T) {
		w := do("PUT", u, io.MultiReader(strings.NewReader("half"), errReader{}))
		if w.Code != 503 {
			t.Errorf("got %d: %s", w.Code, w.Body)
		}
	})
	if after := files(t, s); after != before {
		t.Errorf("refused and broken uploads left %d files", after-before)
	}
	blob, err := s.Ports().Blobs.Get(t.Context(), "uploads/x/a b.zip", infra.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Body.Close()
	if b, err := io.ReadAll(blob.Body); err != nil || string(b) != "zip" {
		t.Errorf("stored %q, %v", b, err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestPresignWithoutPublicURL(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	if _, err := s.Ports().Presigner.PresignPut(t.Context(), "uploads/a", time.Hour, 0); infra.KindOf(err) != infra.ErrInvalid {
		t.Errorf("got %v, want that no public URL is known", err)
	}
}

// No URL but the one that was signed puts anything, and none is a server error.
func FuzzUpload(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(f.Context(), dir, Options{PublicURL: "http://h"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	good, err := s.Ports().Presigner.PresignPut(f.Context(), "uploads/x/a.zip", time.Hour, 100)
	if err != nil {
		f.Fatal(err)
	}
	path, query, _ := strings.Cut(strings.TrimPrefix(good, "http://h"), "?")
	for _, seed := range [][2]string{{path, query}, {path + "/..", query}, {strings.ToUpper(path), query}, {path, query + "&max=9"}, {path, "max=9&" + query}, {UploadPath, ""}, {path, "%zz"}} {
		f.Add(seed[0], seed[1])
	}
	h := s.UploadHandler()
	f.Fuzz(func(t *testing.T, p, q string) {
		r := httptest.NewRequest("PUT", "http://h/", strings.NewReader("x"))
		r.URL.Path, r.URL.RawQuery = p, q
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusForbidden {
			return
		}
		// Extra values after the signed ones change nothing.
		if v := r.URL.Query(); w.Code != 200 || p != path && UploadPath+p != path || v.Get("max") != "100" {
			t.Errorf("path %q query %q: %d", p, q, w.Code)
		}
	})
}
