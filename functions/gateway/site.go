package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws"
	"github.com/lowrank/lowrank/infra/bases"
)

// The environment variables of functions that answer HTTP; template.yaml sets them.
const (
	PublicURLEnv  = "LOWRANK_PUBLIC_URL"  // clients reach the API by it; "" is the host they asked
	OutputsURLEnv = "LOWRANK_OUTPUTS_URL" // the content network: /pbxt/… and /uploads/… follow
	HardwareEnv   = "LOWRANK_HARDWARE"    // what runners run on, for people
)

const (
	maxWait = 22 * time.Second // of Prefer: wait; with a start and a slow table the answer is there by 25 s
	// freshFor is how long a catalogue is used before it is looked up again.
	freshFor = time.Minute
)

// MaxBody is how many bytes a request may have: base64 makes 5.6 MB of them, and Lambda takes 6.
const MaxBody = 4 << 20

// MaxUpload is how many bytes a PUT to an upload_url may have; ingest refuses more.
const MaxUpload = 1 << 30

// API is the HTTP API over the deployment that the environment names.
func API(ctx context.Context) (http.Handler, error) {
	return open(ctx, func(c api.Config) http.Handler { return api.New(c) })
}

// Web is the pages, and the API behind them.
func Web(ctx context.Context) (http.Handler, error) {
	return open(ctx, func(c api.Config) http.Handler {
		return web.New(web.Config{
			Ports: c.Ports, Catalogue: c.Catalogue, API: api.New(c), PublicURL: c.PublicURL, OutputsURL: c.OutputsURL,
			UploadsTo: uploadOrigin(c.Ports), FormLimit: MaxBody, TrustProxy: c.TrustProxy, Log: c.Log,
		})
	})
}

func open(ctx context.Context, build func(api.Config) http.Handler) (http.Handler, error) {
	store, err := aws.Open(ctx)
	if err != nil {
		return nil, err
	}
	outputs := strings.TrimRight(os.Getenv(OutputsURLEnv), "/")
	c := api.Config{
		Ports: store.Ports(), PublicURL: os.Getenv(PublicURLEnv), OutputsURL: outputs, MaxWait: maxWait,
		Limits: api.Limits{JSON: MaxBody, File: MaxBody, Upload: MaxUpload}, TrustProxy: true, Log: slog.Default(),
	}
	if outputs != "" {
		c.UploadsURL = outputs + "/uploads"
	}
	if h := os.Getenv(HardwareEnv); h != "" {
		c.Hardware = []events.Hardware{{SKU: h, Name: h}}
	}
	return &site{config: c, build: build, bases: bases.Store{Blobs: c.Ports.Blobs, Docs: c.Ports.Documents}}, nil
}

// uploadOrigin is where upload_urls lead: pages may send there.
func uploadOrigin(p infra.Ports) []string {
	u, err := p.Presigner.PresignPut(context.Background(), "uploads/x", time.Second, 0)
	if err != nil {
		return nil
	}
	parsed, err := url.Parse(u)
	if err != nil {
		return nil
	}
	return []string{parsed.Scheme + "://" + parsed.Host}
}

// site builds the handler when it is first asked, and again when base models were
// added or removed: those are the catalogue.
type site struct {
	config api.Config
	build  func(api.Config) http.Handler
	bases  bases.Store

	mu      sync.Mutex
	list    []bases.Base
	looked  time.Time
	handler http.Handler
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, err := s.current(r.Context())
	if err != nil {
		detail := "The service could not read its base models; try again."
		if errors.Is(err, bases.ErrNone) {
			detail = "The service has no base model yet: its first runner is starting. Try again in a minute."
		}
		log().Warn("no catalogue", "error", err)
		w.Header().Set("Retry-After", "5")
		p := problem(http.StatusServiceUnavailable, "Not ready", detail)
		w.Header().Set("Content-Type", p.header.Get("Content-Type"))
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(p.status)
		_, _ = w.Write(p.body.Bytes()) // a client that has gone is no one's error
		return
	}
	h.ServeHTTP(w, r)
}

func (s *site) current(ctx context.Context) (http.Handler, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handler != nil && time.Since(s.looked) < freshFor {
		return s.handler, nil
	}
	list, err := s.bases.List(ctx)
	if err == nil && len(list) == 0 {
		err = bases.ErrNone
	}
	if err == nil && !reflect.DeepEqual(list, s.list) {
		var limits []events.BaseLimits
		for _, b := range list {
			limits = append(limits, b.Limits)
		}
		c := s.config
		if c.Catalogue, err = events.NewCatalogue(limits...); err == nil {
			s.handler, s.list = s.build(c), list
		}
	}
	if err != nil && s.handler == nil {
		return nil, err
	}
	if err != nil {
		log().Warn("the base models could not be looked up again", "error", err)
	}
	s.looked = time.Now()
	return s.handler, nil
}
