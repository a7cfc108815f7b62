package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

// Config is what a deployment decides.
type Config struct {
	Ports     infra.Ports
	Catalogue *events.Catalogue

	PublicURL  string // absolute URLs begin with it; "" takes the host that the client asked
	OutputsURL string // before /pbxt/…; "" is the server itself
	UploadsURL string // before /{token}/{name} of serving URLs; "" is the server's /serving
	// TrustProxy takes X-Forwarded-Host and -Proto, where a proxy sets them.
	TrustProxy bool
	// Stream offers server-sent events.
	Stream  bool
	MaxWait time.Duration // Prefer: wait is held this long at most; 0 is 60 s
	Limits  Limits
	// Hardware is what models.create may name; none is one CPU.
	Hardware []events.Hardware
	// Stopping, when closed, answers held waits and ends streams, for a clean stop.
	Stopping <-chan struct{}
	Log      *slog.Logger
}

// Limits are per owner, or per request.
type Limits struct {
	OpenJobs int   // predictions and trainings that have not ended; 0 is 50
	JSON     int64 // bytes of a JSON body; 0 is 32 MB
	File     int64 // bytes of a file posted to /v1/files; 0 is 100 MB
	Upload   int64 // bytes of a PUT to an upload_url; 0 is 1 GiB
}

func (l Limits) withDefaults() Limits {
	if l.OpenJobs == 0 {
		l.OpenJobs = 50
	}
	if l.JSON == 0 {
		l.JSON = 32 << 20
	}
	if l.File == 0 {
		l.File = 100 << 20
	}
	if l.Upload == 0 {
		l.Upload = 1 << 30
	}
	return l
}

// server holds what all handlers need; it keeps no state between requests but what can be made again.
type server struct {
	Config
	jobs *predictions.Store
	reg  *registry.Registry
	// big bounds how many large bodies are held at once, bigOwn those of one owner. making is who makes a job.
	big            chan struct{}
	bigOwn, making perOwner

	polled polled
}

// call is one request on its way through a handler.
type call struct {
	http.ResponseWriter
	*http.Request
	owner events.Owner
	links events.Links
	body  []byte // of an answer that was given with 200
}

// handler answers a call, or returns the problem.
type handler func(*call) error

// methods are the handlers of one path.
type methods map[string]handler

// New makes the API's handler.
func New(c Config) http.Handler {
	c.Limits = c.Limits.withDefaults()
	if c.MaxWait == 0 {
		c.MaxWait = time.Minute
	}
	if len(c.Hardware) == 0 {
		c.Hardware = []events.Hardware{{SKU: "cpu", Name: "CPU"}}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = infra.CutKeys(c.Log)
	s := &server{
		Config: c, jobs: predictions.New(c.Ports), reg: registry.Open(c.Ports.Documents),
		big: make(chan struct{}, largeBodies), bigOwn: perOwner{each: largeOfOwner}, making: perOwner{each: 1},
	}
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		s.mount(mux, r)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "/", notFound()) })
	return s.wrap(mux)
}

// route is one path of the API.
type route struct {
	path    string
	private bool // needs a token
	methods methods
}

// routes is the whole API.
func (s *server) routes() []route {
	return []route{
		{"/v1/account", true, methods{"GET": s.account}},
		{"/v1/hardware", true, methods{"GET": s.hardware}},
		{"/v1/collections", true, methods{"GET": s.collections}},
		{"/v1/collections/{slug}", true, methods{"GET": s.collection}},
		{"/v1/deployments", true, methods{"GET": s.deployments}},
		{"/v1/webhooks/default/secret", true, methods{"GET": s.webhookSecret}},
		{"/v1/upload/{name}", true, methods{"POST": s.upload}},
		{"/v1/files", true, methods{"GET": s.listFiles, "POST": s.createFile}},
		{"/v1/files/{id}", true, methods{"GET": s.getFile, "DELETE": s.deleteFile}},
		{"/v1/predictions", true, methods{"GET": s.listPredictions, "POST": s.createPrediction}},
		{"/v1/predictions/{id}", true, methods{"GET": s.getPrediction, "DELETE": s.deletePrediction}},
		{"/v1/predictions/{id}/cancel", true, methods{"POST": s.cancelPrediction}},
		{"/v1/trainings", true, methods{"GET": s.listTrainings}},
		{"/v1/trainings/{id}", true, methods{"GET": s.getTraining, "DELETE": s.deleteTraining}},
		{"/v1/trainings/{id}/cancel", true, methods{"POST": s.cancelTraining}},
		{"/v1/models", true, methods{"GET": s.listModels, "POST": s.createModel, "QUERY": s.searchModels}},
		{"/v1/models/{owner}/{model}", true, methods{"GET": s.getModel, "DELETE": s.deleteModel}},
		{"/v1/models/{owner}/{model}/predictions", true, methods{"POST": s.createModelPrediction}},
		{"/v1/models/{owner}/{model}/versions", true, methods{"GET": s.listVersions}},
		{"/v1/models/{owner}/{model}/versions/{id}", true, methods{"GET": s.getVersion, "DELETE": s.deleteVersion}},
		{"/v1/models/{owner}/{model}/versions/{id}/trainings", true, methods{"POST": s.createTraining}},
		{"/pbxt/{secret}/{name}", false, methods{"GET": s.serveOutput}},
		{"/serving/{token}/{name}", false, methods{"GET": s.serveUpload}},
		{"/v1/streams/{key}", false, methods{"GET": s.stream}},
		{"/openapi.json", false, methods{"GET": s.openAPI}},
		{"/{$}", false, methods{"GET": s.index}},
	}
}

// mount binds a path. Methods are told apart here and not by the mux, whose own 404 and 405 are plain
// text that the clients cannot read.
func (s *server) mount(mux *http.ServeMux, rt route) {
	var allow []string
	for method := range rt.methods {
		allow = append(allow, method)
	}
	if rt.methods["GET"] != nil {
		allow = append(allow, "HEAD")
	}
	allow = append(allow, "OPTIONS")
	slices.Sort(allow)
	mux.HandleFunc(rt.path, func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == "HEAD" {
			method = "GET" // net/http leaves the body out
		}
		h := rt.methods[method]
		if h == nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.fail(w, r, rt.path, &problem{status: http.StatusMethodNotAllowed, title: "Method Not Allowed", detail: "This path takes " + strings.Join(allow, ", ") + "."})
			return
		}
		c := &call{ResponseWriter: w, Request: r, links: s.linksOf(r)}
		run := func() ([]byte, error) {
			if rt.private {
				if c.links.API == "" {
					return nil, badRequest("The request names no host, which the answer's URLs need: send a Host header.")
				}
				owner, err := s.authenticate(r)
				if err != nil {
					return nil, err
				}
				c.owner = owner
			}
			err := h(c)
			return c.body, err
		}
		var err error
		if polledPaths[rt.path] && r.Method == "GET" {
			err = s.poll(w, r, c.links.API, run)
		} else {
			_, err = run()
		}
		if err != nil {
			s.fail(w, r, rt.path, err)
		}
	})
}

// wrap does what every request needs: CORS, several slashes in front (a base URL with a final slash makes
// them), and a last resort against panics.
func (s *server) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowOrigin(w.Header())
		if r.Method == http.MethodOptions {
			preflight(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "//") {
			u := *r.URL
			u.Path = "/" + strings.TrimLeft(u.Path, "/")
			if u.RawPath != "" {
				u.RawPath = "/" + strings.TrimLeft(u.RawPath, "/")
			}
			r2 := *r
			r2.URL = &u
			r = &r2
		}
		if !cleanPath(r.URL.EscapedPath()) {
			s.fail(w, r, "", notFound())
			return
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.Log.Error("a handler panicked", "method", r.Method, "panic", p)
				s.fail(w, r, "", errors.New("panic"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// cleanPath reports whether a path is without empty, "." and ".." segments; the mux would redirect from others, with
// a page that no client reads. Those that are encoded are names.
func cleanPath(p string) bool {
	c := path.Clean(p)
	return p == "" || p == c || p == c+"/"
}

// linksOf is where URLs in the answer begin; "" when nothing says where that is.
func (s *server) linksOf(r *http.Request) events.Links {
	base := strings.TrimRight(s.PublicURL, "/")
	if base == "" {
		scheme, host := "http", r.Host
		if r.TLS != nil {
			scheme = "https"
		}
		if s.TrustProxy {
			if h := firstOf(r.Header.Get("X-Forwarded-Host")); h != "" {
				host = h
			}
			if p := firstOf(r.Header.Get("X-Forwarded-Proto")); p == "http" || p == "https" {
				scheme = p
			}
		}
		if host != "" {
			base = scheme + "://" + host
		}
	}
	outputs := strings.TrimRight(s.OutputsURL, "/")
	if outputs == "" {
		outputs = base
	}
	return events.Links{API: base, Outputs: outputs, Stream: s.Stream}
}

func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// writeJSON answers with an object.
func (c *call) writeJSON(status int, v any) error {
	b, err := events.Marshal(v)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		c.body = b
	}
	answer(c.ResponseWriter, status, b)
	return nil
}

func answer(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(b) // a client that has gone is no one's error
}

// Header is the answer's: the request's is Request.Header.
func (c *call) Header() http.Header { return c.ResponseWriter.Header() }

// text returns a string member of a body, "" when it is absent or null.
func text(o map[string]any, name string) (string, error) {
	switch v := o[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", events.Invalid("invalid_type", name, "Invalid type. Expected: string, given: "+jsonType(v))
	}
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}
