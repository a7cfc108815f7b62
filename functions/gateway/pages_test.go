package gateway_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"

	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/gateway"
	"github.com/lowrank/lowrank/functions/web"
)

// overLambda carries a browser's requests as API Gateway does: within Lambda's 6 MB both ways, and its 30 s.
type overLambda struct {
	t      *testing.T
	handle func(context.Context, lambdaevents.APIGatewayV2HTTPRequest) (lambdaevents.APIGatewayV2HTTPResponse, error)
}

const lambdaBytes = 6_000_000

// RoundTrip implements http.RoundTripper.
func (l overLambda) RoundTrip(r *http.Request) (*http.Response, error) {
	e := lambdaevents.APIGatewayV2HTTPRequest{RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery, Headers: map[string]string{"x-forwarded-proto": "https", "accept-encoding": "gzip"}, IsBase64Encoded: true}
	e.RequestContext.HTTP.Method, e.RequestContext.DomainName, e.RequestContext.HTTP.SourceIP = r.Method, r.URL.Host, "192.0.2.1"
	for name := range r.Header {
		if name != "Cookie" {
			e.Headers[strings.ToLower(name)] = r.Header.Get(name)
		}
	}
	for _, c := range r.Cookies() {
		e.Cookies = append(e.Cookies, c.String())
	}
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		e.Body = base64.StdEncoding.EncodeToString(b)
	}
	if in, err := json.Marshal(e); err != nil || len(in) > lambdaBytes {
		l.t.Fatalf("%s %s: an event of %d bytes, %v", r.Method, r.URL.Path, len(in), err)
	}
	begin := time.Now()
	out, err := l.handle(r.Context(), e)
	if err != nil {
		return nil, err
	}
	if took := time.Since(begin); took > 29*time.Second {
		l.t.Errorf("%s %s took %v", r.Method, r.URL.Path, took)
	}
	if b, err := json.Marshal(out); err != nil || len(b) > lambdaBytes {
		l.t.Errorf("%s %s: an answer of %d bytes, %v", r.Method, r.URL.Path, len(b), err)
	}
	body := []byte(out.Body)
	if out.IsBase64Encoded {
		if body, err = base64.StdEncoding.DecodeString(out.Body); err != nil {
			return nil, err
		}
	}
	resp := &http.Response{StatusCode: out.StatusCode, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}
	for name, value := range out.Headers {
		resp.Header.Set(name, value)
	}
	for _, c := range out.Cookies {
		resp.Header.Add("Set-Cookie", c)
	}
	return resp, nil
}

// TestPagesOverLambda signs in, trains with a zip inside a form and draws, as a browser without JavaScript does, with
// nothing between but the events.
func TestPagesOverLambda(t *testing.T) {
	s, err := apitest.Start(t.TempDir(), apitest.Options{Train: 10 * time.Millisecond, Draw: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	site := web.New(web.Config{Ports: s.Ports, Catalogue: s.Catalogue, API: s.Handler, TrustProxy: true, FormLimit: gateway.MaxBody})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: overLambda{t, gateway.HTTP(site)}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	const host = "https://lowrank.example"
	ask := func(method, path, contentType string, body io.Reader, want int) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(method, host+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("Origin", host)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s %s: got %d, %v\n%.500s", method, path, resp.StatusCode, err, text)
		}
		return resp, string(text)
	}
	const form = "application/x-www-form-urlencoded"
	in, _ := ask("POST", "/sign-in", form, strings.NewReader(url.Values{"token": {s.Token(t, "me")}}.Encode()), http.StatusSeeOther)
	if c := in.Header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-lowrank=") || !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "Secure") || !strings.Contains(c, "SameSite=Lax") {
		t.Errorf("cookie %q", c)
	}
	_, page := ask("GET", "/replicate/lora-training", "", nil, http.StatusOK)
	if !strings.Contains(page, "a file here may have up to 4.2 MB") {
		t.Error("the form does not say how large a file may be without JavaScript")
	}
	token := regexp.MustCompile(`name="_form" value="([^"]+)"`).FindStringSubmatch(page)
	if token == nil {
		t.Fatal("no form token")
	}
	ask("POST", "/replicate/lora", form, strings.NewReader("prompt=a+cat"), http.StatusForbidden)

	train := func(size int) (*bytes.Buffer, string) {
		var body bytes.Buffer
		m := multipart.NewWriter(&body)
		m.WriteField("_form", token[1])
		m.WriteField("task", "style")
		part, err := m.CreateFormFile("instance_data_file", "neon-sign.zip")
		if err != nil {
			t.Fatal(err)
		}
		z := zip.NewWriter(part)
		picture, err := z.CreateHeader(&zip.FileHeader{Name: "a.png", Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		picture.Write(make([]byte, size))
		z.Close()
		m.Close()
		return &body, m.FormDataContentType()
	}
	body, kind := train(4_150_000)
	made, _ := ask("POST", "/replicate/lora-training", kind, body, http.StatusSeeOther)
	path := made.Header.Get("Location")
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, page = ask("GET", path, "", nil, http.StatusOK); strings.Contains(page, `data-status="succeeded"`) || time.Now().After(until) {
			break
		}
	}
	if !strings.Contains(page, "<h2>neon-sign</h2>") || !strings.Contains(page, `data-status="succeeded"`) {
		t.Fatalf("the training did not end well: %.800s", page[strings.Index(page, "data-panel"):])
	}
	body, kind = train(4_300_000)
	if _, page = ask("POST", "/replicate/lora-training", kind, body, http.StatusRequestEntityTooLarge); !strings.Contains(page, "Too large") {
		t.Errorf("a zip that is too large: %.300s", page)
	}
	for _, p := range []string{"/", "/examples", "/predictions", "/concepts", path + "/panel", path + "/log", "/replicate/lora-advanced-training", "/replicate/lora/api", "/replicate/lora?with=" + path[strings.LastIndex(path, "/")+1:]} {
		ask("GET", p, "", nil, http.StatusOK)
	}
}
