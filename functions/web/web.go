package web

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

// Config is what a deployment decides. Fields shared with api.Config must say the same.
type Config struct {
	Ports     infra.Ports
	Catalogue *events.Catalogue
	// API answers every path that is no page, and is asked in this process for all that changes something.
	API http.Handler

	PublicURL  string // absolute URLs begin with it; "" takes the host that the browser asked
	OutputsURL string // before /pbxt/…; "" is the server itself
	// UploadsTo are origins, such as https://bucket.s3.amazonaws.com, that upload_urls lead to; none is the
	// server itself.
	UploadsTo []string
	// FormLimit is how many bytes a form with its files may have, where that is little: scripts send files ahead,
	// browsers without them inside the form. 0 is 110 MiB.
	FormLimit  int64
	TrustProxy bool // takes X-Forwarded-Host and -Proto
	// Concepts replaces the pretrained concepts that ship (tests).
	Concepts fs.FS
	Log      *slog.Logger
}

// site holds what all pages need; it keeps no state between requests but what it can make again.
type site struct {
	Config
	pages    *http.ServeMux // paths whose first segment is ours
	models   *http.ServeMux // /{owner}/{model}…
	jobs     *predictions.Store
	reg      *registry.Registry
	sessions *sessions
	shipped  *shelf
	origin   *http.CrossOriginProtection
	policy   string // Content-Security-Policy
}

// handler answers a visit, or returns the problem.
type handler func(*visit) error

// New makes the handler of pages and, behind them, the API. It panics on concepts that cannot be read: they
// are part of the program.
func New(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = infra.CutKeys(c.Log)
	if c.Concepts == nil {
		c.Concepts = shippedConcepts()
	}
	shelf, err := openShelf(c.Concepts)
	if err != nil {
		panic("web: " + err.Error())
	}
	s := &site{
		Config: c, pages: http.NewServeMux(), models: http.NewServeMux(), jobs: predictions.New(c.Ports), reg: registry.Open(c.Ports.Documents),
		shipped: shelf, origin: http.NewCrossOriginProtection(), policy: contentSecurityPolicy(c),
	}
	if o := originOf(c.PublicURL); o != "" {
		if err := s.origin.AddTrustedOrigin(o); err != nil {
			panic("web: " + err.Error())
		}
	}
	s.sessions = &sessions{docs: c.Ports.Documents, reg: s.reg, clock: c.Ports.Clock, secure: s.secure}
	s.routes()
	return s
}

// routes is the table of all pages.
func (s *site) routes() {
	page := func(pattern string, h handler) { s.mount(s.pages, pattern, h) }
	page("GET /{$}", s.home)
	page("GET /examples", s.examples)
	page("GET /sign-in", s.signInPage)
	page("POST /sign-in", s.signIn)
	page("POST /sign-out", s.private(s.signOut))

	page("GET /predictions", s.private(s.predictionsPage))
	page("GET /predictions/{id}", s.private(s.predictionPage))
	page("GET /predictions/{id}/panel", s.private(s.panelPart))
	page("GET /predictions/{id}/log", s.private(s.logText))
	page("POST /predictions/{id}/cancel", s.private(s.cancel))
	page("GET /predictions/{id}/delete", s.private(s.deletePage))
	page("POST /predictions/{id}/delete", s.private(s.delete))
	page("GET /concepts", s.private(s.conceptsPage))

	page("POST /-/upload/{name}", s.private(s.upload))
	s.pages.HandleFunc("GET /-/assets/{tag}/{name}", serveAsset)
	s.pages.HandleFunc("GET /-/concepts/{slug}/{name}", s.serveConceptPicture)
	s.pages.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, assetURL("icon.svg"), http.StatusFound)
	})

	model := func(pattern string, h handler) { s.mount(s.models, pattern, h) }
	model("GET /{owner}/{model}", s.demoPage)
	model("POST /{owner}/{model}", s.private(s.run))
	model("GET /{owner}/{model}/api", s.codePage)
	model("POST /{owner}/{model}/api", s.codePart)
	model("GET /{owner}/{model}/examples", s.modelExamplesPage)
	model("GET /{owner}/{model}/versions", s.versionsPage)

	missing := func(*visit) error { return errNotFound }
	page("/", missing)
	model("/", missing)
}

// ours are the first segments of paths that are no model's.
var ours = []string{"", "-", "examples", "sign-in", "sign-out", "predictions", "concepts", "favicon.ico"}

// notPages are the first segments of the API's paths.
var notPages = []string{"v1", "pbxt", "serving", "_put", "openapi.json"}

// ServeHTTP implements http.Handler.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimLeft(r.URL.Path, "/") // a base URL with a final slash makes several
	first, _, _ := strings.Cut(path, "/")
	html := wantsHTML(r)
	switch {
	case slices.Contains(notPages, first), r.Method == http.MethodOptions, path == "" && !html,
		r.Header.Get("Authorization") != "": // programs, also where they ask for what is not there
		s.API.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", s.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), interest-cohort=()")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept, Cookie")
	mux := s.models
	if slices.Contains(ours, first) {
		mux = s.pages
	}
	mux.ServeHTTP(w, r)
}

// mount binds a path to a handler whose errors become pages.
func (s *site) mount(mux *http.ServeMux, pattern string, h handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &visit{site: s, ResponseWriter: w, Request: r}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.Log.Error("a page panicked", "pattern", pattern, "panic", fmt.Sprint(p))
				v.fail(errors.New("panic"))
			}
		}()
		var err error
		if v.session, err = s.sessions.find(r); err == nil && !safeMethod(r.Method) {
			err = v.checkOrigin()
		}
		if err == nil {
			err = h(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// private lets only those in who have signed in; a POST must also carry the session's own token.
func (s *site) private(h handler) handler {
	return func(v *visit) error {
		if v.session == nil {
			return errSignedOut
		}
		if !safeMethod(v.Method) {
			if err := v.checkForgery(); err != nil {
				return err
			}
		}
		return h(v)
	}
}

func safeMethod(m string) bool { return m == http.MethodGet || m == http.MethodHead }

// wantsHTML reports whether a request comes from who reads pages.
func wantsHTML(r *http.Request) bool {
	return safeMethod(r.Method) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// contentSecurityPolicy allows our own files, pictures of the outputs' host, and uploads to their host.
// Nothing inline runs; scripts may make HTML only through the policy named lowrank (parts.js).
func contentSecurityPolicy(c Config) string {
	images, connects := "'self' blob:", "'self'"
	if o := originOf(c.OutputsURL); o != "" {
		images += " " + o
	}
	for _, u := range c.UploadsTo {
		if o := originOf(u); o != "" {
			connects += " " + o
		}
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "font-src 'self'", "img-src " + images, "connect-src " + connects,
		"form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types lowrank",
	}, "; ")
}

// originOf is scheme and host of a URL, "" for what has none.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
