package infratest

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var presignTests = []test{
	{"Put", testPresignPut},
	{"SecondPut", testPresignSecondPut},
	{"Refused", testPresignRefused},
	{"Expired", testPresignExpired},
	{"Size", testPresignSize},
	{"BadArguments", testPresignBadArguments},
}

func presign(t *testing.T, a Adapter, key string) string {
	t.Helper()
	return must1(a.Presigner.PresignPut(t.Context(), key, time.Hour, 1<<20))(t)
}

// send makes the request a client without a token makes: no headers of its own.
func send(t *testing.T, a Adapter, method, rawURL string, body io.Reader) int {
	t.Helper()
	req := must1(http.NewRequestWithContext(t.Context(), method, rawURL, body))(t)
	resp := must1(a.Client.Do(req))(t)
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func testPresignPut(t *testing.T, a Adapter) {
	for _, name := range []string{"neon-sign.zip", "Fotos aus Köln (1)+100%.zip", strings.Repeat("k", infra.MaxKey-40)} {
		key := unique("uploads/") + "/" + name
		if code := send(t, a, "PUT", presign(t, a, key), strings.NewReader("zip")); code/100 != 2 {
			t.Fatalf("PUT of %q answered %d, want 2xx", key, code)
		}
		if got := get(t, a.Blobs, key, infra.GetOptions{}); got != "zip" {
			t.Errorf("stored %q, want %q", got, "zip")
		}
		info := must1(a.Blobs.Stat(t.Context(), key, ""))(t)
		if got, want := notification(t, a), (object{key, info.Generation, info.ETag, 3}); got != want {
			t.Errorf("notified of %+v, want %+v", got, want)
		}
	}
	key := unique("uploads/") + "/empty.zip"
	if code := send(t, a, "PUT", presign(t, a, key), http.NoBody); code/100 != 2 {
		t.Fatalf("PUT of nothing answered %d, want 2xx", code)
	}
	if info := must1(a.Blobs.Stat(t.Context(), key, ""))(t); info.Size != 0 {
		t.Errorf("size %d, want 0", info.Size)
	}
}

// A second PUT with the same URL is allowed; whoever was told of the first
// generation goes on reading it.
func testPresignSecondPut(t *testing.T, a Adapter) {
	key := unique("uploads/") + "/a.zip"
	u := presign(t, a, key)
	for _, body := range []string{"first", "other"} {
		if code := send(t, a, "PUT", u, strings.NewReader(body)); code/100 != 2 {
			t.Fatalf("PUT %s answered %d, want 2xx", body, code)
		}
	}
	got := map[string]bool{}
	for range 2 {
		n := notification(t, a)
		got[get(t, a.Blobs, key, infra.GetOptions{Generation: n.VersionID})] = true
	}
	if !got["first"] || !got["other"] {
		t.Errorf("the notified generations read %v, want first and other", got)
	}
	if body := get(t, a.Blobs, key, infra.GetOptions{}); body != "other" {
		t.Errorf("the current generation reads %q, want %q", body, "other")
	}
}

func testPresignRefused(t *testing.T, a Adapter) {
	key := unique("uploads/") + "/mine.zip"
	good := presign(t, a, key)
	change := func(f func(u *url.URL, q url.Values)) string {
		u := must1(url.Parse(good))(t)
		q := u.Query()
		f(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	cases := map[string]struct{ method, url string }{
		"OtherKey":    {"PUT", change(func(u *url.URL, q url.Values) { u.Path = strings.Replace(u.Path, "mine", "yours", 1); u.RawPath = "" })},
		"OtherMethod": {"GET", good},
		"Delete":      {"DELETE", good},
		"NoQuery":     {"PUT", change(func(u *url.URL, q url.Values) { clear(q) })},
	}
	for name, values := range must1(url.Parse(good))(t).Query() {
		cases["Altered_"+name] = struct{ method, url string }{"PUT", change(func(u *url.URL, q url.Values) {
			v := []byte(values[0])
			v[len(v)-1] ^= 1
			q.Set(name, string(v))
		})}
		cases["Without_"+name] = struct{ method, url string }{"PUT", change(func(u *url.URL, q url.Values) { q.Del(name) })}
	}
	for name, c := range cases {
		if name == "Altered_x-id" || name == "Without_x-id" {
			continue // S3 gives it no meaning beyond the signature, and emulators none at all
		}
		t.Run(name, func(t *testing.T) {
			if code := send(t, a, c.method, c.url, strings.NewReader("evil")); code < 400 || code > 405 {
				t.Errorf("answered %d, want a refusal", code)
			}
			_, err := a.Blobs.Stat(t.Context(), key, "")
			wantKind(t, err, infra.ErrNotFound)
			_, err = a.Blobs.Stat(t.Context(), strings.Replace(key, "mine", "yours", 1), "")
			wantKind(t, err, infra.ErrNotFound)
		})
	}
}

func testPresignExpired(t *testing.T, a Adapter) {
	key := unique("uploads/") + "/late.zip"
	u := must1(a.Presigner.PresignPut(t.Context(), key, 2*time.Second, 0))(t)
	a.Advance(4 * time.Second)
	if code := send(t, a, "PUT", u, strings.NewReader("late")); code != http.StatusForbidden {
		t.Errorf("an expired URL answered %d, want 403", code)
	}
	_, err := a.Blobs.Stat(t.Context(), key, "")
	wantKind(t, err, infra.ErrNotFound)
}

func testPresignSize(t *testing.T, a Adapter) {
	if a.SizeNotSigned {
		t.Skip("this store's presigned URLs cannot limit the size; the notification's receiver judges it")
	}
	key := unique("uploads/") + "/big.zip"
	u := must1(a.Presigner.PresignPut(t.Context(), key, time.Hour, 10))(t)
	for name, body := range map[string]io.Reader{
		"Declared": strings.NewReader("eleven byte"),
		"Chunked":  struct{ io.Reader }{strings.NewReader("eleven byte")},
	} {
		t.Run(name, func(t *testing.T) {
			if code := send(t, a, "PUT", u, body); code != http.StatusRequestEntityTooLarge {
				t.Errorf("answered %d, want 413", code)
			}
			_, err := a.Blobs.Stat(t.Context(), key, "")
			wantKind(t, err, infra.ErrNotFound)
		})
	}
	if code := send(t, a, "PUT", u, strings.NewReader("ten bytes!")); code/100 != 2 {
		t.Errorf("a body of the limit answered %d, want 2xx", code)
	}
}

func testPresignBadArguments(t *testing.T, a Adapter) {
	for name, c := range map[string]struct {
		key string
		ttl time.Duration
	}{"ErrKey": {"uploads/../x", time.Hour}, "ErrNoTTL": {"uploads/x", 0}, "ErrLongTTL": {"uploads/x", 8 * 24 * time.Hour}} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Presigner.PresignPut(t.Context(), c.key, c.ttl, 0)
			wantKind(t, err, infra.ErrInvalid)
		})
	}
}
