//go:build unix

package servicetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/gpurunner/inputs"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/faulty"
	"github.com/lowrank/lowrank/infra/fetch"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

// world is the whole service in one synctest bubble: the real store, API, event
// handlers and job loops, over ports that fail. There is no network in it, for a
// bubble's time stands still while a socket is read: requests go straight to
// their handlers.
type world struct {
	*testing.T
	store  *local.Store
	plain  infra.Ports // without faults, for looking
	ports  infra.Ports
	faults *faulty.Faults
	jobs   *predictions.Store // over plain
	puts   *witness
	bus    *bus
	hooks  *receiver
	wire   wire
	token  string

	running sync.WaitGroup
	stop    context.CancelFunc
	kills   atomic.Int32
	stops   atomic.Int32

	mu     sync.Mutex
	bereft map[events.JobID]int // how many runners were killed with the job in hand
}

// bubbleClock is the bubble's clock, but pauses of less than a second take no
// time: a retry waits with a lock held, and for those who wait for a lock a
// bubble's time stands still.
type bubbleClock struct{ infra.SystemClock }

func (bubbleClock) After(d time.Duration) <-chan time.Time {
	if d >= time.Second {
		return time.After(d)
	}
	now := make(chan time.Time, 1)
	now <- time.Now()
	return now
}

// wire is a network of handlers by host.
type wire map[string]http.Handler

func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	h := w[req.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no host %s", req.URL.Host)
	}
	r := req.Clone(req.Context())
	r.RequestURI, r.Host, r.RemoteAddr = req.URL.RequestURI(), req.URL.Host, "192.0.2.1:1"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

const serviceHost = "service.test"

// newWorld starts everything but the runners.
func newWorld(t *testing.T, plan faulty.Plan) *world {
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{Clock: bubbleClock{}, PublicURL: "http://" + serviceHost})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: s, plain: s.Ports(), bus: &bus{got: map[string]int{}}, bereft: map[events.JobID]int{}, hooks: newReceiver(t, plan.Seed)}
	w.plain.Events = w.bus
	w.jobs = predictions.New(w.plain)
	under := w.plain
	w.puts = &witness{Blobs: under.Blobs, sums: map[string]map[string]bool{}}
	under.Blobs = w.puts
	w.ports, w.faults = faulty.Wrap(under, plan)
	if w.token, err = registry.Open(w.plain.Documents).CreateToken(t.Context(), "me", time.Now()); err != nil {
		t.Fatal(err)
	}
	catalogue, err := events.NewCatalogue(apitest.TestBase)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	handler, puts := api.New(api.Config{Ports: w.ports, Catalogue: catalogue, Limits: api.Limits{OpenJobs: 1 << 20}, Log: quiet}), s.UploadHandler()
	w.wire = wire{"receiver.test": w.hooks, serviceHost: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, local.UploadPath) {
			puts.ServeHTTP(rw, r)
			return
		}
		handler.ServeHTTP(rw, r)
	})}

	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	w.running.Go(func() { ingest.New(w.ports, 1<<30, quiet).Run(ctx) })
	w.running.Go(func() { notify.New(w.ports, &http.Client{Transport: w.wire}, quiet).Run(ctx) })
	w.running.Go(func() { sweep.New(w.ports, 0, quiet).Run(ctx) })
	return w
}

func (w *world) close() {
	w.stop()
	w.running.Wait()
	if err := w.store.Close(); err != nil {
		w.Error(err)
	}
}

// process is a runner that can be killed: from then on nothing that it does
// reaches the store, as if it had ended between two instructions.
type process struct {
	dead  atomic.Bool
	end   context.CancelFunc
	over  chan struct{} // killed or stopped
	once  sync.Once
	holds atomic.Pointer[events.JobID] // what it has a lease on, as far as it knows
}

// kill returns the job that was in hand, "" for none.
func (p *process) kill() events.JobID {
	p.dead.Store(true)
	p.leave()
	if id := p.holds.Load(); id != nil {
		return *id
	}
	return ""
}

// hand notes which job a runner has in hand: from the first try to write its lease
// until it is written without one.
type hand struct {
	infra.Jobs
	p *process
}

func (h hand) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	j, err := predictions.Decode(r)
	if err != nil {
		return r, err
	}
	if j.Lease != nil && !h.p.dead.Load() {
		h.p.holds.Store(&j.ID)
	}
	r, err = h.Jobs.Update(ctx, r)
	if err == nil && j.Lease == nil {
		h.p.holds.Store(nil)
	}
	return r, err
}

// leave is SIGTERM.
func (p *process) leave() {
	p.end()
	p.once.Do(func() { close(p.over) })
}

// start starts a runner; its loop is the one that `lowrank runner` has.
func (w *world) start(queue string) *process {
	ctx, end := context.WithCancel(context.Background())
	p := &process{end: end, over: make(chan struct{})}
	ports, _ := faulty.Wrap(w.ports, faulty.Plan{FailBefore: 1, Only: func(string) bool { return p.dead.Load() }})
	ports.Jobs = hand{ports.Jobs, p}
	dir := w.TempDir()
	cache, err := fetch.OpenCache(filepath.Join(dir, "cache"), 1<<20)
	if err != nil {
		w.Error(err)
		return p
	}
	l := &worker.Loop{
		Ports: ports, Queue: queue, Scratch: dir, Log: slog.New(slog.DiscardHandler),
		Fetcher:  &inputs.Fetcher{Blobs: ports.Blobs, Cache: cache},
		Programs: map[events.Program]worker.Program{events.ProgramLora: drawSmall, events.ProgramTraining: trainSmall},
	}
	w.running.Go(func() {
		if err := l.Run(ctx); err != nil {
			w.Errorf("a loop ended: %v", err)
		}
	})
	return p
}

// runners keeps so many runners of a queue alive until ctx ends, and meanwhile
// ends one after the other at random: three in four are killed.
func (w *world) runners(ctx context.Context, queue string, n int, every time.Duration, seed uint64) {
	for i := range n {
		w.running.Go(func() {
			chance := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				p := w.start(queue)
				select {
				case <-ctx.Done():
					p.leave()
				case <-time.After(time.Duration(chance.ExpFloat64() * float64(every))):
					if chance.IntN(4) == 0 {
						w.stops.Add(1)
						p.leave()
					} else {
						w.kills.Add(1)
						w.killed(p.kill())
					}
				}
			}
		})
	}
}

func (w *world) killed(id events.JobID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bereft[id]++
}

// drawSmall is a program that draws: its pictures are a text that follows from
// the input.
func drawSmall(ctx context.Context, t *worker.Task) error {
	job := t.Job()
	var in events.LoraInput
	if err := job.DecodeInput(apitest.TestBase, &in); err != nil {
		return err
	}
	if in.Prompt == "refuse" {
		return fmt.Errorf("prompt: %q is refused", in.Prompt)
	}
	for i := range in.NumOutputs {
		if err := rest(ctx, time.Duration(1+in.Seed%4)*time.Second); err != nil {
			return err
		}
		t.Step("sampling", i+1, in.NumOutputs, 0, "")
		if err := t.Output(ctx, fmt.Sprintf("out-%d.png", i), "image/png", strings.NewReader(pictureOf(in.Seed, i))); err != nil {
			return err
		}
	}
	return nil
}

func pictureOf(seed int64, i int) string { return fmt.Sprintf("picture %d of seed %d", i, seed) }

// trainSmall is a program that trains: a chain of hashes, each link a step, that
// goes on from its checkpoint.
func trainSmall(ctx context.Context, t *worker.Task) error {
	job := t.Job()
	var in events.TrainingInput
	if err := job.DecodeInput(apitest.TestBase, &in); err != nil {
		return err
	}
	zip, err := t.Fetch(ctx, in.InstanceData)
	if err != nil {
		return fmt.Errorf("instance_data: %w", err)
	}
	defer zip.Close()
	data, err := readFile(zip.Path)
	if err != nil {
		return err
	}
	state, steps := chainStart(data, in.Seed), stepsOf(in.Seed)
	path := filepath.Join(t.Dir, "checkpoint")
	if err := t.RestoreCheckpoint(ctx, path); err != nil {
		return err
	}
	if text, err := readFile(path); err == nil {
		if _, err := fmt.Sscanf(string(text), "%d %x", &state.step, &state.sum); err != nil {
			return fmt.Errorf("the checkpoint %q cannot be read", text)
		}
	}
	save := func() error {
		if err := writeFile(path, fmt.Sprintf("%d %x", state.step, state.sum)); err != nil {
			return err
		}
		return t.SaveCheckpoint(context.WithoutCancel(ctx), path)
	}
	for state.step < steps {
		if err := rest(ctx, 700*time.Millisecond); err != nil {
			_ = save() // as a training does; when it fails there is an older one
			return err
		}
		state.next()
		t.Step("tuning", state.step, steps, 1, "")
		if state.step%5 == 0 {
			if err := save(); err != nil {
				return err
			}
		}
	}
	return t.Output(ctx, job.TrainedName(zip.Name), "application/octet-stream", strings.NewReader(state.String()))
}

func stepsOf(seed int64) int { return 5 + int(seed%30) }

// chain is the state of a training.
type chain struct {
	step int
	sum  []byte
}

func chainStart(data []byte, seed int64) chain {
	h := sha256.Sum256(fmt.Appendf(data, " %d", seed))
	return chain{0, h[:]}
}

func (c *chain) next() {
	h := sha256.Sum256(c.sum)
	c.step, c.sum = c.step+1, h[:]
}

func (c *chain) String() string { return fmt.Sprintf("%d steps: %x", c.step, c.sum) }

// trained is what a training of data must make.
func trained(data []byte, seed int64) string {
	c := chainStart(data, seed)
	for range stepsOf(seed) {
		c.next()
	}
	return c.String()
}

// rest works for d.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// witness notes what was ever put under outputs/.
type witness struct {
	infra.Blobs
	mu   sync.Mutex
	sums map[string]map[string]bool // key → hashes
}

func (w *witness) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	info, err := w.Blobs.Put(ctx, key, body, o)
	if err == nil && strings.HasPrefix(key, "outputs/") {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.sums[key] == nil {
			w.sums[key] = map[string]bool{}
		}
		w.sums[key][info.SHA256] = true
	}
	return info, err
}

// bus counts what was published, by the event's id.
type bus struct {
	mu  sync.Mutex
	got map[string]int
}

func (b *bus) Publish(_ context.Context, e infra.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[e.ID]++
	return nil
}
