package api

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
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

// server holds what all handlers need; it keeps no state between requests.
type server struct {
	Config
	jobs *predictions.Store
	reg  *registry.Registry
	big  chan struct{} // bounds how many large bodies are held at once
}

// call is one request on its way through a handler.
type call struct {
	http.ResponseWriter
	*http.Request
	owner events.Owner
	links events.Links
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
	s := &server{Config: c, jobs: predictions.New(c.Ports), reg: registry.Open(c.Ports.Documents), big: make(chan struct{}, 8)}
	mux := http.NewServeMux()
	s.routes(mux)
	return s.wrap(mux)
}

// routes is the table of the whole API.
func (s *server) routes(mux *http.ServeMux) {
	private := func(path string, m methods) { s.mount(mux, path, m, true) }
	public := func(path string, m methods) { s.mount(mux, path, m, false) }

	private("/v1/account", methods{"GET": s.account})
	private("/v1/hardware", methods{"GET": s.hardware})
	private("/v1/collections", methods{"GET": s.collections})
	private("/v1/collections/{slug}", methods{"GET": s.collection})
	private("/v1/deployments", methods{"GET": s.deployments})
	private("/v1/webhooks/default/secret", methods{"GET": s.webhookSecret})

	private("/v1/upload/{name}", methods{"POST": s.upload})
	private("/v1/files", methods{"GET": s.listFiles, "POST": s.createFile})
	private("/v1/files/{id}", methods{"GET": s.getFile, "DELETE": s.deleteFile})

	private("/v1/predictions", methods{"GET": s.listPredictions, "POST": s.createPrediction})
	private("/v1/predictions/{id}", methods{"GET": s.getPrediction, "DELETE": s.deletePrediction})
	private("/v1/predictions/{id}/cancel", methods{"POST": s.cancelPrediction})
	private("/v1/trainings", methods{"GET": s.listTrainings})
	private("/v1/trainings/{id}", methods{"GET": s.getTraining, "DELETE": s.deleteTraining})
	private("/v1/trainings/{id}/cancel", methods{"POST": s.cancelTraining})

	private("/v1/models", methods{"GET": s.listModels, "POST": s.createModel, "QUERY": s.searchModels})
	private("/v1/models/{owner}/{model}", methods{"GET": s.getModel, "DELETE": s.deleteModel})
	private("/v1/models/{owner}/{model}/predictions", methods{"POST": s.createModelPrediction})
	private("/v1/models/{owner}/{model}/versions", methods{"GET": s.listVersions})
	private("/v1/models/{owner}/{model}/versions/{id}", methods{"GET": s.getVersion, "DELETE": s.deleteVersion})
	private("/v1/models/{owner}/{model}/versions/{id}/trainings", methods{"POST": s.createTraining})

	public("/pbxt/{secret}/{name}", methods{"GET": s.serveOutput})
	public("/serving/{token}/{name}", methods{"GET": s.serveUpload})
	public("/v1/streams/{key}", methods{"GET": s.stream})
	public("/openapi.json", methods{"GET": s.openAPI})
	public("/{$}", methods{"GET": s.index})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, "/", notFound()) })
}

// mount binds a path. Methods are told apart here and not by the mux, whose own 404 and 405 are plain
// text that the clients cannot read.
func (s *server) mount(mux *http.ServeMux, path string, m methods, token bool) {
	var allow []string
	for method := range m {
		allow = append(allow, method)
	}
	if m["GET"] != nil {
		allow = append(allow, "HEAD")
	}
	allow = append(allow, "OPTIONS")
	slices.Sort(allow)
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == "HEAD" {
			method = "GET" // net/http leaves the body out
		}
		h := m[method]
		if h == nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.fail(w, r, path, &problem{status: http.StatusMethodNotAllowed, title: "Method Not Allowed", detail: "This path takes " + strings.Join(allow, ", ") + "."})
			return
		}
		c := &call{ResponseWriter: w, Request: r, links: s.linksOf(r)}
		if token {
			owner, err := s.authenticate(r)
			if err != nil {
				s.fail(w, r, path, err)
				return
			}
			c.owner = owner
		}
		if err := h(c); err != nil {
			s.fail(w, r, path, err)
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

// linksOf is where URLs in the answer begin.
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
		base = scheme + "://" + host
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
	c.Header().Set("Content-Type", "application/json")
	c.WriteHeader(status)
	c.ResponseWriter.Write(b) // a client that has gone is no one's error
	return nil
}

// Header is the answer's: the request's is Request.Header.
func (c *call) Header() http.Header { return c.ResponseWriter.Header() }

// object reads the JSON body.
func (s *server) object(c *call) (map[string]any, error) {
	body, err := s.body(c, s.Limits.JSON)
	if err != nil {
		return nil, err
	}
	o, err := events.ParseObject(body)
	if err != nil {
		return nil, badRequest(sentence(err.Error()))
	}
	return o, nil
}

// body reads at most limit bytes. Large ones are read a few at a time, so that memory stays bounded.
func (s *server) body(c *call, limit int64) ([]byte, error) {
	if c.ContentLength > limit {
		return nil, tooLarge("Request bodies must be less than " + megabytes(limit) + " in size; use POST /v1/upload for larger files")
	}
	if c.ContentLength < 0 || c.ContentLength > 1<<20 {
		select {
		case s.big <- struct{}{}:
			defer func() { <-s.big }()
		case <-c.Context().Done():
			return nil, c.Context().Err()
		}
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.ResponseWriter, c.Body, limit))
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return nil, tooLarge("Request bodies must be less than " + megabytes(limit) + " in size; use POST /v1/upload for larger files")
	case err != nil:
		return nil, badRequest("The request body could not be read to its end.")
	}
	return b, nil
}

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
