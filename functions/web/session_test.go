package web_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra"
)

func TestSignIn(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	for _, c := range []struct{ name, token, want string }{
		{"ErrEmpty", " ", "Paste a token first."},
		{"ErrUnknown", "r8_nobodys", "No one has this token."},
		{"ErrLong", strings.Repeat("x", 501), "too long to be a token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := s.browser()
			a := b.post("/sign-in", url.Values{"token": {c.token}})
			if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, c.want) || a.header.Get("Set-Cookie") != "" {
				t.Errorf("got %d, cookie %q, body\n%s", a.status, a.header.Get("Set-Cookie"), a.body)
			}
			if c.token != " " && strings.Contains(a.body, c.token) {
				t.Error("the page repeats the token")
			}
		})
	}
	t.Run("OK", func(t *testing.T) {
		b := s.browser()
		a := b.post("/sign-in", url.Values{"token": {" " + s.token + "\n"}, "next": {"/predictions?q=a"}})
		if a.status != http.StatusSeeOther || a.location() != "/predictions?q=a" {
			t.Fatalf("got %d to %q", a.status, a.location())
		}
		cookie := a.header.Get("Set-Cookie")
		for _, want := range []string{"HttpOnly", "SameSite=Lax", "Path=/"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("cookie %q lacks %s", cookie, want)
			}
		}
		if strings.Contains(cookie, s.token) || strings.Contains(cookie, "Secure") {
			t.Errorf("cookie %q", cookie)
		}
		if !strings.Contains(b.page("/"), "Sign out") {
			t.Error("the start page does not know who is there")
		}
	})
	t.Run("Private", func(t *testing.T) {
		b := s.browser()
		for _, p := range []string{"/predictions", "/concepts", "/predictions/aaaaaaaaaaaaaaaaaaaaaaaaaa"} {
			a := b.get(p)
			if want := "/sign-in?next=" + url.QueryEscape(p); a.status != http.StatusSeeOther || a.location() != want {
				t.Errorf("%s: got %d to %q, want to %q", p, a.status, a.location(), want)
			}
		}
		if a := b.do("GET", "/predictions/aaaaaaaaaaaaaaaaaaaaaaaaaa/panel", http.Header{"X-Lowrank": {"1"}}, nil); a.status != http.StatusUnauthorized || !strings.Contains(a.body, `"sign_in":true`) {
			t.Errorf("panel: got %d %s", a.status, a.body)
		}
	})
}

// TestSessionTLS: behind TLS the cookie never travels without it, and other hosts of the domain cannot set it.
func TestSessionTLS(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	h := s.handler(func(c *config) { c.PublicURL = "https://lowrank.example" })
	a := h.post("/sign-in", url.Values{"token": {s.token}})
	if c := a.header.Get("Set-Cookie"); !strings.HasPrefix(c, "__Host-lowrank=") || !strings.Contains(c, "Secure") {
		t.Errorf("cookie %q", c)
	}
}

// TestSessionStored: what the store holds of a session signs no one in, and holds no token.
func TestSessionStored(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.signedIn(s.token)
	page, err := s.svc.Ports.Documents.List(context.Background(), "web-sessions", "", infra.ListOptions{})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("got %d sessions, %v", len(page.Items), err)
	}
	stored := page.Items[0].Key + string(page.Items[0].Value)
	u, _ := url.Parse(s.url)
	for _, c := range b.http.Jar.Cookies(u) {
		if strings.Contains(stored, c.Value) || strings.Contains(stored, s.token) {
			t.Error("the store holds the cookie or the token")
		}
	}
}

// TestManyProcesses: each request may meet another process, as in Lambda. Signing in, forms and the concepts
// that ship need only the ports.
func TestManyProcesses(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	first := s.signedIn(s.token)
	token := first.forgery()
	for range 2 {
		next := s.handler(func(*config) {})
		here, _ := url.Parse(s.url)
		there, _ := url.Parse(next.url)
		next.http.Jar.SetCookies(there, first.http.Jar.Cookies(here))
		if a := next.post("/replicate/lora", url.Values{"_form": {token}, "prompt": {"a cat"}}); a.status != http.StatusSeeOther {
			t.Fatalf("a form of another process: got %d\n%s", a.status, a.body)
		}
		page := next.page("/replicate/lora?with=dots")
		address := regexp.MustCompile(`/pbxt/shipped-[^"|]+/dots\.safetensors`).FindString(page)
		if a := first.get(address); address == "" || a.status != http.StatusOK || len(a.body) != 10 {
			t.Errorf("the concept that ships: %q gives %d", address, a.status)
		}
	}
	if got := strings.Count(first.page("/predictions"), `<li class="card"`); got != 2 {
		t.Errorf("the first process shows %d predictions", got)
	}
}

func TestSessionEnds(t *testing.T) {
	signedOut := func(t *testing.T, b *browser) {
		t.Helper()
		if a := b.get("/predictions"); a.status != http.StatusSeeOther {
			t.Errorf("still signed in: got %d", a.status)
		}
	}
	t.Run("BySigningOut", func(t *testing.T) {
		s := start(t, apitest.Options{Idle: true})
		b := s.signedIn(s.token)
		u, _ := url.Parse(s.url)
		kept := b.http.Jar.Cookies(u)
		if a := b.post("/sign-out", url.Values{"_form": {b.forgery()}}); a.status != http.StatusSeeOther {
			t.Fatalf("got %d", a.status)
		}
		signedOut(t, b)
		b.http.Jar.SetCookies(u, kept) // a copy of the cookie is worth nothing either
		signedOut(t, b)
	})
	t.Run("ByRevokedToken", func(t *testing.T) {
		s := start(t, apitest.Options{Idle: true})
		b := s.signedIn(s.token)
		if _, err := s.svc.Registry.RevokeToken(context.Background(), s.token); err != nil {
			t.Fatal(err)
		}
		signedOut(t, b)
	})
	for _, c := range []struct {
		name   string
		visits []time.Duration // between them
		ended  bool
	}{
		{"StaysWhileUsed", []time.Duration{11 * time.Hour, 11 * time.Hour, 11 * time.Hour}, false},
		{"ByIdling", []time.Duration{12*time.Hour + time.Minute}, true},
		{"ByAge", []time.Duration{10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour, 10 * time.Hour}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := &clock{}
			s := start(t, apitest.Options{Idle: true, Clock: now})
			b := s.signedIn(s.token)
			var a answer
			for _, d := range c.visits {
				now.shift += d
				a = b.get("/predictions")
			}
			if got := a.status == http.StatusSeeOther; got != c.ended {
				t.Errorf("signed out: got %v, want %v", got, c.ended)
			}
		})
	}
}

func TestForgery(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	me, other := s.signedIn(s.token), s.signedIn(s.svc.Token(t, "other"))
	form := func(token string) url.Values { return url.Values{"prompt": {"a cat"}, "_form": {token}} }
	header := func(k, v string) http.Header {
		return http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, k: {v}}
	}
	body := func(token string) *strings.Reader { return strings.NewReader(form(token).Encode()) }
	mine := me.forgery()
	for _, c := range []struct {
		name string
		do   func() answer
	}{
		{"NoToken", func() answer { return me.post("/replicate/lora", url.Values{"prompt": {"a"}}) }},
		{"OthersToken", func() answer { return me.post("/replicate/lora", form(other.forgery())) }},
		{"OtherOrigin", func() answer {
			return me.do("POST", "/replicate/lora", header("Origin", "https://evil.example"), body(mine))
		}},
		{"CrossSite", func() answer {
			return me.do("POST", "/replicate/lora", header("Sec-Fetch-Site", "cross-site"), body(mine))
		}},
		{"SignOut", func() answer { return me.post("/sign-out", nil) }},
		{"SignInFromElsewhere", func() answer {
			return s.browser().do("POST", "/sign-in", header("Origin", "https://evil.example"), strings.NewReader("token="+s.token))
		}},
		{"Upload", func() answer { return me.do("POST", "/-/upload/a.zip", nil, nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a := c.do(); a.status != http.StatusForbidden {
				t.Errorf("got %d", a.status)
			}
		})
	}
	t.Run("OK", func(t *testing.T) {
		if a := me.post("/replicate/lora", form(mine)); a.status != http.StatusSeeOther {
			t.Errorf("got %d", a.status)
		}
	})
}

func TestNextStaysHere(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	for _, next := range []string{"https://evil.example", "//evil.example", `/\evil.example`, "javascript:alert(1)", "", "/sign-out", "/a\r\nSet-Cookie: x=y"} {
		a := s.browser().post("/sign-in", url.Values{"token": {s.token}, "next": {next}})
		if a.location() != "/" {
			t.Errorf("next %q leads to %q", next, a.location())
		}
	}
}
