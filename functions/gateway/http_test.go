package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	lambdaevents "github.com/aws/aws-lambda-go/events"
)

// event is a request as API Gateway sends it.
func event(method, path string) lambdaevents.APIGatewayV2HTTPRequest {
	e := lambdaevents.APIGatewayV2HTTPRequest{RawPath: path, Headers: map[string]string{"host": "api.test", "x-forwarded-proto": "https"}}
	e.RequestContext.DomainName = "api.test"
	e.RequestContext.HTTP.Method = method
	return e
}

// ask answers e with h.
func ask(t *testing.T, e lambdaevents.APIGatewayV2HTTPRequest, h http.HandlerFunc) lambdaevents.APIGatewayV2HTTPResponse {
	t.Helper()
	out, err := HTTP(h)(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRequest(t *testing.T) {
	e := event("POST", "/v1/upload/my%20photos.zip")
	e.RawQueryString = "cursor=a%2Bb"
	e.Headers["authorization"] = "Token x"
	e.Headers["x-forwarded-host"] = "evil.test"
	e.Cookies = []string{"a=1", "b=2"}
	e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte("\x00\xff")), true
	ask(t, e, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "\x00\xff" || r.ContentLength != 2 {
			t.Errorf("body %q of length %d: %v", body, r.ContentLength, err)
		}
		cookie, err := r.Cookie("b")
		if err != nil || cookie.Value != "2" {
			t.Errorf("cookie b is %v: %v", cookie, err)
		}
		for what, pair := range map[string][2]string{
			"method": {r.Method, "POST"}, "path": {r.URL.Path, "/v1/upload/my photos.zip"}, "cursor": {r.URL.Query().Get("cursor"), "a+b"},
			"host": {r.Host, "api.test"}, "token": {r.Header.Get("Authorization"), "Token x"},
			"host that a client claims": {r.Header.Get("X-Forwarded-Host"), ""},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
			}
		}
	})
}

func TestPath(t *testing.T) {
	for name, c := range map[string]struct{ raw, want string }{
		"Plain":       {"/v1/predictions", "/v1/predictions"},
		"Encoded":     {"/v1/upload/K%C3%B6ln%20%281%29.zip", "/v1/upload/Köln (1).zip"},
		"Decoded":     {"/v1/upload/Köln (1).zip", "/v1/upload/Köln (1).zip"},
		"NoEncoding":  {"/v1/upload/100%.zip", "/v1/upload/100%.zip"},
		"AllButSign":  {"/v1/upload/Bob | 50%25 #1.zip", "/v1/upload/Bob | 50% #1.zip"},
		"Twice":       {"/v1/upload/a%252Eb.zip", "/v1/upload/a%2Eb.zip"},
		"DecodedSign": {"/v1/upload/50% off.zip", "/v1/upload/50% off.zip"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := path(c.raw); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestDots(t *testing.T) {
	for path, want := range map[string]int{
		"/v1/predictions/%2e%2e": 404, "/v1/upload/..%2fevil.zip": 404, "/v1/upload/../evil.zip": 404, "/./": 404,
		"/v1/upload/dots..in.name.zip": 200, "/v1/upload/.hidden": 200, "/v1/upload/...": 200,
	} {
		out := ask(t, event("GET", path), func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusOK) })
		if out.StatusCode != want {
			t.Errorf("%s was answered %d, want %d", path, out.StatusCode, want)
		}
	}
}

func TestAnswer(t *testing.T) {
	t.Run("JSON", func(t *testing.T) {
		out := ask(t, event("GET", "/"), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Add("Set-Cookie", "a=1")
			w.Header().Add("Set-Cookie", "b=2")
			w.Header().Add("Vary", "Accept")
			w.Header().Add("Vary", "Cookie")
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, `{"a":"é"}`)
		})
		if out.StatusCode != 201 || out.Body != `{"a":"é"}` || out.IsBase64Encoded || out.Headers["Vary"] != "Accept, Cookie" || strings.Join(out.Cookies, ";") != "a=1;b=2" {
			t.Errorf("got %+v", out)
		}
	})
	t.Run("Binary", func(t *testing.T) {
		out := ask(t, event("GET", "/"), func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("\x89PNG\r\n\x1a\n")) })
		if body, err := base64.StdEncoding.DecodeString(out.Body); err != nil || !out.IsBase64Encoded || string(body) != "\x89PNG\r\n\x1a\n" || out.Headers["Content-Type"] != "image/png" {
			t.Errorf("got %+v, %v", out, err)
		}
	})
	t.Run("Empty", func(t *testing.T) {
		if out := ask(t, event("OPTIONS", "/"), func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }); out.StatusCode != 204 || out.Body != "" {
			t.Errorf("got %+v", out)
		}
	})
	t.Run("ErrBody", func(t *testing.T) {
		e := event("POST", "/")
		e.Body, e.IsBase64Encoded = "%%%", true
		if out := ask(t, e, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }); out.StatusCode != 400 {
			t.Errorf("got %+v", out)
		}
	})
}

// A log of megabytes fits only when it is compressed; who takes no compression is
// told so rather than given an error of Lambda's.
func TestLargeAnswer(t *testing.T) {
	large := strings.Repeat(" 10%|█| 1/10\n", 600_000)
	h := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, large) }
	e := event("GET", "/")
	if out := ask(t, e, h); out.StatusCode != 500 || !strings.Contains(out.Body, "Accept-Encoding: gzip") {
		t.Errorf("without compression: %d %.200s", out.StatusCode, out.Body)
	}
	e.Headers["accept-encoding"] = "br, gzip;q=0.8"
	out := ask(t, e, h)
	if out.StatusCode != 200 || out.Headers["Content-Encoding"] != "gzip" || len(out.Body) > maxAnswer {
		t.Fatalf("compressed: %d, %d bytes, %v", out.StatusCode, len(out.Body), out.Headers)
	}
	body, err := base64.StdEncoding.DecodeString(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != large {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(large), err)
	}
	for _, accept := range []string{"", "br", "gzip;q=0", "identity"} {
		if takesGzip(accept) {
			t.Errorf("%q is taken for who takes gzip", accept)
		}
	}
}

// Whatever a client encodes is decoded, once.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/v1/upload/Köln (1).zip", "/100%", "/a%2Fb", "/\x00", "/+&=?#", "/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := (&url.URL{Path: "/" + s}).EscapedPath()
		if got := path(encoded); got != "/"+s {
			t.Errorf("%q was decoded to %q, want %q", encoded, got, "/"+s)
		}
		path(s)
	})
}
