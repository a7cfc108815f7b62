package fetch

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// open makes a Fetcher for tests that does not pause between tries.
func open(t *testing.T, o Options) *Fetcher {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	f.pause = time.Millisecond
	return f
}

// serve answers every request with h.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func zipBytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if _, err := w.Create("a.txt"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, f File) string {
	t.Helper()
	b, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFetch(t *testing.T) {
	data := zipBytes(t)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/pictures/Neon%20Sign.zip", http.StatusFound)
			return
		}
		if r.URL.Query().Has("named") {
			w.Header().Set("Content-Disposition", `attachment; filename="..\\..\\evil/Köln.zip"`)
		}
		w.Header().Set("Content-Type", "text/html") // servers lie; bytes do not
		w.Write(data)
	})
	for name, c := range map[string]struct{ url, want string }{
		"OK":         {url + "/a.zip", "a.zip"},
		"Redirected": {url + "/moved", "Neon Sign.zip"},
		"Named":      {url + "/x?named", "Köln.zip"},
		"NoName":     {url, "file"},
		"Spaces":     {" " + url + "/a.zip\n", "a.zip"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := open(t, Options{AllowLoopback: true}).Fetch(t.Context(), c.url)
			if err != nil {
				t.Fatal(err)
			}
			if f.Name != c.want || f.Size != int64(len(data)) || read(t, f) != string(data) {
				t.Errorf("got %+v, want %d bytes named %q", f, len(data), c.want)
			}
			f.Done()
			if _, err := os.Stat(f.Path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after Done the link is still there: %v", err)
			}
		})
	}
}

func TestFetchData(t *testing.T) {
	f := open(t, Options{MaxBytes: 100})
	got, err := f.Fetch(t.Context(), "data:application/zip;base64,UEsDBA==")
	if err != nil || got.Name != "data.zip" || read(t, got) != "PK\x03\x04" {
		t.Errorf("got %+v, %v, want the four bytes as data.zip", got, err)
	}
	if _, err := f.Fetch(t.Context(), "data:;base64,%%%"); infra.KindOf(err) != infra.ErrInvalid {
		t.Errorf("broken base64: got %v", err)
	}
	if _, err := f.Fetch(t.Context(), "DATA:,"+strings.Repeat("x", 101)); infra.KindOf(err) != infra.ErrTooLarge {
		t.Errorf("101 bytes over a limit of 100: got %v", err)
	}
}

// Each fault gives the user one sentence, permanent, without the URL.
func TestFetchFaults(t *testing.T) {
	body := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	page := "a web page, not a file"
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		kind infra.Kind
		want string
		hits int32
	}{
		"ErrPage":        {body("<!DOCTYPE html><html><body>Sign in</body></html>"), infra.ErrInvalid, page, 1},
		"ErrPageBOM":     {body("\ufeff \n<HTML lang=de>"), infra.ErrInvalid, page, 1},
		"ErrXML":         {body("<?xml version='1.0'?><Error>AccessDenied</Error>"), infra.ErrInvalid, page, 1},
		"ErrEmpty":       {body(""), infra.ErrInvalid, "empty file", 1},
		"Err404":         {status(404), infra.ErrInvalid, "answered 404", 1},
		"Err403":         {status(403), infra.ErrInvalid, "make the file public", 1},
		"Err503":         {status(503), infra.ErrInvalid, "answered 503", tries},
		"Err429":         {status(429), infra.ErrInvalid, "answered 429", tries},
		"ErrDeclared":    {body(strings.Repeat("x", 2000)), infra.ErrTooLarge, "the limit is 1000 bytes", 1},
		"ErrMetadata":    {redirect("http://169.254.169.254/latest/meta-data"), infra.ErrInvalid, "not public", 1},
		"ErrPrivate":     {redirect("http://10.0.0.1/"), infra.ErrInvalid, "not public", 1},
		"ErrMapped":      {redirect("http://[::ffff:192.168.0.1]/"), infra.ErrInvalid, "not public", 1},
		"ErrScheme":      {redirect("file:///etc/passwd"), infra.ErrInvalid, "only http, https and data", 1},
		"ErrCredentials": {redirect("http://user:password@127.0.0.1/"), infra.ErrInvalid, "user name or password", 1},
		"ErrLoop":        {redirect("/again"), infra.ErrInvalid, "more than 10 times", 10},
		"ErrChunked": {func(w http.ResponseWriter, _ *http.Request) {
			for range 20 {
				fmt.Fprint(w, strings.Repeat("x", 100))
				w.(http.Flusher).Flush()
			}
		}, infra.ErrTooLarge, "too large", 1},
		"ErrCut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "900")
			fmt.Fprint(w, strings.Repeat("x", 600))
		}, infra.ErrInvalid, "connection broke", tries},
		"ErrSlow": {func(w http.ResponseWriter, r *http.Request) {
			w.Write(bytes.Repeat([]byte("x"), 600))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, infra.ErrInvalid, "took too long", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int32
			url := serve(t, func(w http.ResponseWriter, r *http.Request) { hits.Add(1); c.h(w, r) })
			f := open(t, Options{AllowLoopback: true, MaxBytes: 1000, Timeout: 300 * time.Millisecond})
			if name != "ErrSlow" {
				f.options.Timeout = time.Minute
			}
			_, err := f.Fetch(t.Context(), url+"/secret-path?token=hush")
			if infra.KindOf(err) != c.kind || infra.Retryable(err) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in a %s", err, c.want, c.kind)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(fmt.Sprintf("%+v", err), "hush") {
				t.Errorf("the error holds the URL: %v", err)
			}
			if hits.Load() != c.hits {
				t.Errorf("the server was asked %d times, want %d", hits.Load(), c.hits)
			}
			for _, sub := range []string{"content", "held"} {
				if left, _ := os.ReadDir(f.options.Dir + "/" + sub); len(left) > 0 {
					t.Errorf("%d files are left in %s", len(left), sub)
				}
			}
		})
	}
}

func TestFetchTriesAgain(t *testing.T) {
	var hits atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if hits.Add(1) < tries {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		fmt.Fprint(w, "at last")
	})
	f, err := open(t, Options{AllowLoopback: true}).Fetch(t.Context(), url)
	if err != nil || read(t, f) != "at last" {
		t.Errorf("got %v, want the file of the third try", err)
	}
}

func TestFetchCanceled(t *testing.T) {
	started := make(chan struct{})
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { close(started); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	_, err := open(t, Options{AllowLoopback: true}).Fetch(ctx, url)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
}
