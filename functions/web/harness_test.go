package web_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// server is the pages before a service with a quick test runner, and a browser without JavaScript.
type server struct {
	*testing.T
	svc   *apitest.Service
	url   string
	token string // of the owner "me"
}

// oneShipped is a shelf with one concept, for a base that apitest serves.
var oneShipped = fstest.MapFS{
	"index.json":       {Data: []byte(`[{"slug":"dots","name":"Dots","about":"Dotted things.","task":"style","base":"embedded","scale":0.6,"input":{"num_outputs":2},"prompts":["a"],"thanks":"CC0"}]`)},
	"dots.safetensors": {Data: []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}")},
	"dots.jpg":         {Data: dots()},
}

// dots is a contact sheet.
func dots() []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, 256, 128)), nil); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

func start(t *testing.T, o apitest.Options) *server {
	t.Helper()
	svc, err := apitest.Start(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(web.New(web.Config{Ports: svc.Ports, Catalogue: svc.Catalogue, API: svc.Handler, Concepts: oneShipped}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := svc.Close(); err != nil {
			t.Error(err)
		}
	})
	return &server{t, svc, srv.URL, svc.Token(t, registry.DefaultOwner)}
}

// browser keeps cookies and follows no redirect by itself.
type browser struct {
	*server
	http *http.Client
}

func (s *server) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.Fatal(err)
	}
	return &browser{s, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// signedIn is a browser that has signed in with a token.
func (s *server) signedIn(token string) *browser {
	s.Helper()
	b := s.browser()
	if a := b.post("/sign-in", url.Values{"token": {token}}); a.status != http.StatusSeeOther {
		s.Fatalf("signing in: got %d", a.status)
	}
	return b
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// location is where the answer leads.
func (a answer) location() string { return a.header.Get("Location") }

func (b *browser) do(method, path string, header http.Header, body io.Reader) answer {
	b.Helper()
	r, err := http.NewRequest(method, b.url+path, body)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(path string) answer {
	b.Helper()
	return b.do("GET", path, nil, nil)
}

// page is get for a page that must be there.
func (b *browser) page(path string) string {
	b.Helper()
	a := b.get(path)
	if a.status != http.StatusOK {
		b.Fatalf("GET %s: got %d\n%s", path, a.status, a.body)
	}
	return a.body
}

func (b *browser) post(path string, form url.Values) answer {
	b.Helper()
	return b.do("POST", path, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {b.url}}, strings.NewReader(form.Encode()))
}

var formToken = regexp.MustCompile(`name="form-token" content="([^"]+)"`)

// forgery is the session's form token, as pages carry it.
func (b *browser) forgery() string {
	b.Helper()
	m := formToken.FindStringSubmatch(b.page("/replicate/lora"))
	if m == nil {
		b.Fatal("the page carries no form token")
	}
	return m[1]
}

// run posts a model's form and returns the path of the new prediction.
func (b *browser) run(model string, form url.Values) string {
	b.Helper()
	form.Set("_form", b.forgery())
	a := b.post(model, form)
	if a.status != http.StatusSeeOther {
		b.Fatalf("POST %s: got %d\n%s", model, a.status, a.body)
	}
	return a.location()
}

// ended waits until the job of a path has ended, and returns its page.
func (b *browser) ended(path string) string {
	b.Helper()
	for range 200 {
		page := b.page(path)
		if !strings.Contains(page, `data-status="starting"`) && !strings.Contains(page, `data-status="processing"`) {
			return page
		}
		time.Sleep(25 * time.Millisecond)
	}
	b.Fatalf("%s has not ended", path)
	return ""
}

// clock is a time that the test moves.
type clock struct{ shift time.Duration }

func (c *clock) Now() time.Time                         { return time.Now().UTC().Add(c.shift) }
func (c *clock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// idOf is the job that a path names.
func idOf(path string) events.JobID { return events.JobID(path[strings.LastIndex(path, "/")+1:]) }

var putPNG = infra.PutOptions{ContentType: "image/png"}
