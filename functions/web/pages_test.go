package web_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/web"
)

type config = web.Config

// handler is another handler over the same service.
func (s *server) handler(change func(*config)) *browser {
	c := config{Ports: s.svc.Ports, Catalogue: s.svc.Catalogue, API: s.svc.Handler, Concepts: oneShipped}
	change(&c)
	srv := httptest.NewServer(web.New(c))
	s.Cleanup(srv.Close)
	other := *s
	other.url = srv.URL
	return other.browser()
}

var publicPages = []string{
	"/", "/examples", "/sign-in", "/replicate/lora", "/replicate/lora-training", "/replicate/lora-advanced-training", "/cloneofsimo/lora",
	"/replicate/lora/api", "/replicate/lora-training/api", "/replicate/lora-advanced-training/api", "/replicate/lora/examples", "/replicate/lora-training/examples",
	"/replicate/lora/versions", "/replicate/lora?with=dots", "/replicate/lora?base=embedded",
}

// What the Content-Security-Policy would not run must not be there in the first place.
var inline = regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son\w+\s*=\s*["']|\sstyle\s*=\s*["']|<style|javascript:`)

func TestPages(t *testing.T) {
	s := start(t, apitest.Options{})
	me := s.signedIn(s.token)
	picture := me.run("/replicate/lora", url.Values{"prompt": {"a cat"}, "num_outputs": {"2"}})
	me.ended(picture)
	private := []string{"/predictions", "/predictions?kind=pictures&status=done&q=cat", "/concepts", picture, picture + "/delete", "/replicate/lora?from=" + string(idOf(picture)), "/replicate/lora/api?from=" + string(idOf(picture))}
	check := func(t *testing.T, b *browser, path string) {
		a := b.get(path)
		if a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: got %d %s", path, a.status, a.header.Get("Content-Type"))
		}
		policy := a.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy lacks %s", path, want)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %s", path, policy)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "Access-Control-Allow-Origin": ""} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, name, got, want)
			}
		}
		if m := inline.FindString(a.body); m != "" {
			t.Errorf("%s: %q is inline", path, m)
		}
		for _, m := range regexp.MustCompile(`(?:src|href|action)="(https?:)?//[^"]*"`).FindAllString(a.body, -1) {
			if !strings.Contains(m, b.url) {
				t.Errorf("%s: %s leads to another host", path, m)
			}
		}
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
			if ids[m[1]] {
				t.Errorf("%s: id %s comes twice", path, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`(?:for|aria-describedby)="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
			for id := range strings.FieldsSeq(m[1]) {
				if !ids[id] {
					t.Errorf("%s: %s names no id", path, m[0])
				}
			}
		}
	}
	for _, p := range publicPages {
		t.Run(p, func(t *testing.T) { check(t, s.browser(), p) })
	}
	for _, p := range append(private, publicPages...) {
		if p != "/sign-in" {
			t.Run("SignedIn"+p, func(t *testing.T) { check(t, me, p) })
		}
	}
}

// TestWeight holds every page with its scripts and style under 50 KB, and the first page with its pictures too.
func TestWeight(t *testing.T) {
	base := apitest.TestBase
	base.Name = "emoji-64" // that of the concepts that ship
	s := start(t, apitest.Options{Idle: true, Bases: []events.BaseLimits{base}})
	b := s.handler(func(c *config) { c.Concepts = nil })
	packed := http.Header{"Accept-Encoding": {"gzip"}}
	for _, p := range publicPages {
		if strings.ContainsAny(p, "?") {
			continue // as without
		}
		body := b.page(p)
		total := len(body)
		seen := map[string]bool{}
		var load func(path string)
		load = func(path string) {
			if seen[path] {
				return
			}
			seen[path] = true
			a := b.do("GET", path, packed, nil)
			if a.status != http.StatusOK || !strings.Contains(a.header.Get("Cache-Control"), "immutable") || a.header.Get("Content-Encoding") != "gzip" {
				t.Fatalf("%s: got %d, %v", path, a.status, a.header)
			}
			total += len(a.body)
			plain := b.do("GET", path, http.Header{"Accept-Encoding": {"identity"}}, nil).body
			for _, m := range regexp.MustCompile(`(?m)^import .* from "\./([a-z]+\.js)"`).FindAllStringSubmatch(plain, -1) {
				load(path[:strings.LastIndex(path, "/")+1] + m[1])
			}
		}
		for _, m := range regexp.MustCompile(`"(/-/assets/[^"]+)"`).FindAllStringSubmatch(body, -1) {
			load(m[1])
		}
		if p == "/" {
			sheets := regexp.MustCompile(`"(/-/concepts/[^"]+)"`).FindAllStringSubmatch(body, -1)
			if len(sheets) < 3 {
				t.Errorf("the first page shows %d sheets", len(sheets))
			}
			for _, m := range sheets {
				total += len(b.get(m[1]).body)
			}
		}
		t.Logf("%s: %d bytes", p, total)
		if total > 50_000 {
			t.Errorf("%s: %d bytes with its scripts and style", p, total)
		}
	}
}

func TestRoutes(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.browser()
	for _, c := range []struct {
		name, method, path, accept string
		status                     int
		want                       string
	}{
		{"StartForPrograms", "GET", "/", "application/json", 200, `"openapi"`},
		{"StartForBrowsers", "GET", "/", "text/html", 200, "<!doctype html>"},
		{"API", "GET", "/v1/models", "text/html", 401, "Unauthenticated"},
		{"APISlashes", "GET", "//v1/models", "text/html", 401, "Unauthenticated"},
		{"OpenAPI", "GET", "/openapi.json", "text/html", 200, "{"},
		{"Outputs", "GET", "/pbxt/secret/name", "text/html", 404, `"status":404`},
		{"Serving", "GET", "/serving/token/name", "text/html", 404, `"status":404`},
		{"Missing", "GET", "/nothing", "text/html", 404, "There is nothing at this address"},
		{"MissingDeep", "GET", "/a/b/c/d", "text/html", 404, "There is nothing at this address"},
		{"MissingBase", "GET", "/replicate/lora?base=none", "text/html", 404, "There is nothing at this address"},
		{"UnknownModelOfAnother", "GET", "/someone/thing", "text/html", 303, ""},
		{"Preflight", "OPTIONS", "/v1/models", "*/*", 204, ""},
		{"MissingAsset", "GET", "/-/assets/x/none.js", "*/*", 404, ""},
		{"OldAsset", "GET", "/-/assets/old/app.css", "*/*", 200, "--paper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.do(c.method, c.path, http.Header{"Accept": {c.accept}}, nil)
			if a.status != c.status || !strings.Contains(a.body, c.want) {
				t.Errorf("got %d, want %d with %q\n%.300s", a.status, c.status, c.want, a.body)
			}
		})
	}
}

// TestOthersAreNotThere: one owner's jobs do not exist for another.
func TestOthersAreNotThere(t *testing.T) {
	s := start(t, apitest.Options{Draw: time.Millisecond})
	me, other := s.signedIn(s.token), s.signedIn(s.svc.Token(t, "other"))
	path := me.run("/replicate/lora", url.Values{"prompt": {"a secret"}})
	me.ended(path)
	for _, p := range []string{path, path + "/panel", path + "/log", path + "/delete", "/replicate/lora?from=" + string(idOf(path)), "/replicate/lora?with=" + string(idOf(path)), "/replicate/lora/api?from=" + string(idOf(path))} {
		if a := other.get(p); a.status != http.StatusNotFound {
			t.Errorf("%s: got %d", p, a.status)
		}
	}
	for _, p := range []string{path + "/delete", path + "/cancel"} {
		if a := other.post(p, url.Values{"_form": {other.forgery()}}); a.status != http.StatusNotFound {
			t.Errorf("POST %s: got %d", p, a.status)
		}
	}
	if strings.Contains(other.page("/predictions"), "a secret") {
		t.Error("the list shows another's")
	}
	me.page(path)
}

// TestDelete: the question, the deed, and nothing after it.
func TestDelete(t *testing.T) {
	s := start(t, apitest.Options{Draw: time.Millisecond})
	b := s.signedIn(s.token)
	path := b.run("/replicate/lora", url.Values{"prompt": {"a cat"}})
	b.ended(path)
	if !strings.Contains(b.page(path+"/delete"), "Delete it?") {
		t.Error("no question")
	}
	if a := b.post(path+"/delete", url.Values{"_form": {b.forgery()}}); a.status != http.StatusSeeOther || a.location() != "/predictions" {
		t.Errorf("got %d to %q", a.status, a.location())
	}
	if a := b.get(path); a.status != http.StatusNotFound {
		t.Errorf("afterwards: got %d", a.status)
	}
	if !strings.Contains(b.page("/predictions"), "Nothing here yet") {
		t.Error("the list still has it")
	}
}

func TestCancel(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.signedIn(s.token)
	path := b.run("/replicate/lora", url.Values{"prompt": {"a cat"}})
	if page := b.page(path); !strings.Contains(page, "In line") || !strings.Contains(page, `http-equiv="refresh"`) {
		t.Error("the page of a waiting job")
	}
	if a := b.post(path+"/cancel", url.Values{"_form": {b.forgery()}}); a.status != http.StatusSeeOther || a.location() != path {
		t.Errorf("got %d to %q", a.status, a.location())
	}
	if page := b.page(path); !strings.Contains(page, `data-status="canceled"`) || strings.Contains(page, `http-equiv="refresh"`) {
		t.Error("the page of a canceled job")
	}
	if j, err := s.svc.Ports.Jobs.Get(t.Context(), string(idOf(path))); err != nil || j.Status != string(events.Canceled) {
		t.Errorf("the record: %v %v", j.Status, err)
	}
}
