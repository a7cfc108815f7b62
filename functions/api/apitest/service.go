package apitest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bodies"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/registry"
)

// Options change the service that tests get.
type Options struct {
	Limits      api.Limits
	Train, Draw time.Duration
	Idle        bool // no runners
	Clock       infra.Clock
	Bases       []events.BaseLimits
	EventsTo    string
	Visibility  time.Duration // of notifications and deliveries; 0 is what they have by themselves
	Log         *slog.Logger
	Patience    time.Duration // with bodies that stall; 0 is bodies.Patience
	// Wrap, if set, stands between the store and everything else.
	Wrap func(infra.Ports) infra.Ports
}

// Service is a running service in one process.
type Service struct {
	Ports     infra.Ports
	Store     *local.Store
	Registry  *registry.Registry
	Catalogue *events.Catalogue
	Handler   http.Handler
	Base      events.BaseLimits
	Log       *slog.Logger
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// TestBase is a base model's card whose pictures are quick to make.
var TestBase = events.BaseLimits{
	Name: "embedded", SHA256: "0000000000000000000000000000000000000000000000000000000000000000",
	Sizes: []int{64, 128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024}, Width: 64, Height: 64,
	Resolution: 64, MinResolution: 32, ResolutionMultiple: 8, InferenceSteps: 20,
}.WithDefaults()

// Start opens the folder and runs everything on it until Close.
func Start(dir string, o Options) (*Service, error) {
	store, err := local.Open(context.Background(), dir, local.Options{Clock: o.Clock, EventsTo: o.EventsTo})
	if err != nil {
		return nil, err
	}
	ports := store.Ports()
	if o.Wrap != nil {
		ports = o.Wrap(ports)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	bases := o.Bases
	if len(bases) == 0 {
		bases = []events.BaseLimits{TestBase}
	}
	catalogue, err := events.NewCatalogue(bases...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{Ports: ports, Store: store, Registry: registry.Open(ports.Documents), Catalogue: catalogue, Base: bases[0], Log: o.Log, stop: cancel}
	h := api.New(api.Config{Ports: ports, Catalogue: catalogue, Stream: true, Limits: o.Limits, Stopping: ctx.Done(), Log: o.Log})
	mux := http.NewServeMux()
	mux.Handle(local.UploadPath, store.UploadHandler())
	mux.Handle("/", h)
	if o.Patience == 0 {
		o.Patience = bodies.Patience
	}
	s.Handler = bodies.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would redirect //v1 before the API sees it.
		if len(r.URL.Path) > 1 && r.URL.Path[1] != '_' {
			h.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), o.Patience, ctx.Done())
	run := func(f func()) {
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			f()
		}()
	}
	ingester, notifier := ingest.New(ports, 1<<30, o.Log), notify.New(ports, http.DefaultClient, o.Log)
	if o.Visibility > 0 {
		ingester.Visibility, notifier.Visibility = o.Visibility, o.Visibility
	}
	run(func() { ingester.Run(ctx) })
	run(func() { notifier.Run(ctx) })
	run(func() { sweep.New(ports, 0, o.Log).Run(ctx) })
	if !o.Idle {
		for _, q := range []string{infra.PredictionQueue, infra.TrainingQueue} {
			run(func() { (&Runner{Ports: ports, Queue: q, Base: s.Base, Train: o.Train, Draw: o.Draw}).Run(ctx) })
		}
	}
	return s, nil
}

// Close stops everything.
func (s *Service) Close() error {
	s.stop()
	s.done.Wait()
	return s.Store.Close()
}

// New starts a service for a test, with an HTTP server before it and a token of the owner "me".
func New(t testing.TB, o Options) (s *Service, url, token string) {
	t.Helper()
	s, err := Start(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, srv.URL, s.Token(t, registry.DefaultOwner)
}

// Token makes a token for an owner.
func (s *Service) Token(t testing.TB, o events.Owner) string {
	t.Helper()
	token, err := s.Registry.CreateToken(context.Background(), o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}
