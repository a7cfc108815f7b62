package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// TestNoHost holds that a request which does not say whom it asks gets no URLs that lead nowhere.
func TestNoHost(t *testing.T) {
	s, c := service(t, apitest.Options{Idle: true})
	public := httptest.NewServer(api.New(api.Config{Ports: s.Ports, Catalogue: s.Catalogue, PublicURL: "https://lowrank.example/"}))
	defer public.Close()
	for _, tt := range []struct {
		name, url, first string
		status           int
		says             string
	}{
		{"ErrHTTP10", c.URL, "POST /v1/predictions HTTP/1.0\r\n", 400, "send a Host header"},
		{"ErrEmpty", c.URL, "POST /v1/predictions HTTP/1.1\r\nHost:\r\n", 400, "send a Host header"},
		{"ErrUpload", c.URL, "POST /v1/upload/x.zip HTTP/1.0\r\n", 400, "send a Host header"},
		{"HTTP10WithHost", c.URL, "POST /v1/predictions HTTP/1.0\r\nHost: here:1\r\n", 201, `"get":"http://here:1/v1/predictions/`},
		{"PublicURL", public.URL, "POST /v1/predictions HTTP/1.0\r\n", 201, `"get":"https://lowrank.example/v1/predictions/`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(tt.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			body := `{"version":"` + events.AnnouncedLoraID + `","input":{"prompt":"x"}}`
			fmt.Fprintf(conn, "%sAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", tt.first, c.Token, len(body), body)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var b strings.Builder
			if err := resp.Write(&b); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.status || !strings.Contains(b.String(), tt.says) {
				t.Errorf("%s\nwant %d with %s", b.String(), tt.status, tt.says)
			}
		})
	}
}

// TestBodyForms holds the forms of bodies that are taken, and of those that are not, which say why.
func TestBodyForms(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true})
	text := `{"version":"` + events.AnnouncedLoraID + `","input":{"prompt":"x"}}`
	form := "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\nPK\r\n--b--\r\n"
	for _, tt := range []struct {
		name, path, body string
		headers          []string
		status           int
	}{
		{"BOM", "/v1/predictions", "\ufeff" + text, nil, 201},
		{"Identity", "/v1/predictions", text, []string{"Content-Encoding", "identity"}, 201},
		{"ErrEncoding", "/v1/predictions", text, []string{"Content-Encoding", "gzip"}, 415},
		{"ErrUpload", "/v1/upload/x.zip", "\x1f\x8b\x08", nil, 415},
		{"ErrFile", "/v1/files", form, []string{"Content-Type", "multipart/form-data; boundary=b", "Content-Encoding", "br"}, 415},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := c.Do("POST", tt.path, tt.body, tt.headers...)
			if a.Status != tt.status {
				t.Errorf("%d %s, want %d", a.Status, a.Body, tt.status)
			}
			if a.Status == 415 && !strings.Contains(a.Problem(t).Detail, "uncompressed") {
				t.Errorf("%s", a.Body)
			}
		})
	}
}

// TestRangeRefused holds that a range beyond a file is refused in the form of all errors.
func TestRangeRefused(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true})
	u := c.Upload("x.zip", nil, []byte("0123456789")).ServingURL
	a := c.Do("GET", u, nil, "Range", "bytes=10-")
	if p := a.Problem(t); a.Status != 416 || !strings.Contains(p.Detail, "range") || a.Header.Get("Content-Range") != "bytes */10" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
	if a := c.Do("GET", u, nil, "Range", "bytes=4-5"); a.Status != 206 || string(a.Body) != "45" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
