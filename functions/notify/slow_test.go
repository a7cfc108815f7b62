package notify_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// told is one request that a stubborn receiver got.
type told struct {
	path  string
	p     events.Prediction
	at    time.Time
	taken bool
}

// stubborn answers /slow… only once it has recovered, and everything else at once.
type stubborn struct {
	*httptest.Server
	recovered chan struct{}
	once      sync.Once
	mu        sync.Mutex
	got       []*told
	busy      int // at /slow… just now
	most      int
}

func newStubborn(t *testing.T) *stubborn {
	s := &stubborn{recovered: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.release() // Close waits for the answers under way
		s.Close()
	})
	return s
}

func (s *stubborn) release() { s.once.Do(func() { close(s.recovered) }) }

func (s *stubborn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	d := &told{path: r.URL.Path, at: time.Now()}
	if err != nil || json.Unmarshal(body, &d.p) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	slow := strings.HasPrefix(d.path, "/slow")
	s.mu.Lock()
	s.got = append(s.got, d)
	if slow {
		s.busy++
		s.most = max(s.most, s.busy)
	}
	s.mu.Unlock()
	if slow {
		select {
		case <-s.recovered:
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slow {
		s.busy--
	}
	d.taken = r.Context().Err() == nil
}

// all returns what was told on a path, in the order in which it came.
func (s *stubborn) all(path string) (out []told) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.got {
		if d.path == path {
			out = append(out, *d)
		}
	}
	return out
}

// await waits until a path was told of an end that was taken.
func (s *stubborn) await(t *testing.T, path string, patience time.Duration) told {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, d := range s.all(path) {
			if d.p.Status.Terminal() && d.taken {
				return d
			}
		}
	}
	t.Fatalf("%s was not told of the end within %v", path, patience)
	return told{}
}

// TestSlowOwner holds that an owner whose receivers do not answer holds up no one else, wherever that one's
// receiver is, and that there are bounds to what is tried at once.
func TestSlowOwner(t *testing.T) {
	for name, c := range map[string]struct {
		hosts    int // of the slow owner
		together bool
		most     int // requests at one slow host, 4 of 8 in all
	}{
		"OneHost":  {1, false, 4},
		"TwoHosts": {2, false, 4},
		"SameHost": {1, true, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s, slow := start(t, apitest.Options{})
			quick := &apitest.Client{T: t, URL: slow.URL, Token: s.Token(t, "bob")}
			var hosts []*stubborn
			for range c.hosts {
				hosts = append(hosts, newStubborn(t))
			}
			bobs := hosts[0]
			if !c.together {
				bobs = newStubborn(t)
			}
			for i := range 24 {
				p := draw(slow, m{"webhook": hosts[i%c.hosts].URL + "/slow"})
				if i%8 == 7 {
					slow.Wait(p.ID)
				}
			}
			p := draw(quick, m{"webhook": bobs.URL + "/bob", "webhook_events_filter": []string{"completed"}})
			got := bobs.await(t, "/bob", 4*time.Second)
			if late := got.at.Sub(got.p.CompletedAt.Time); got.p.ID != p.ID || late > 2*time.Second {
				t.Errorf("told %v after the end", late)
			}
			for i, h := range hosts {
				h.mu.Lock()
				if h.busy < 2 || h.most > c.most {
					t.Errorf("slow receiver %d has %d requests and had %d: nothing was shown, or it got too many", i, h.busy, h.most)
				}
				h.mu.Unlock()
			}
		})
	}
}

// TestRecovers holds that a receiver that recovers is told every end soon, and each job's events in order.
func TestRecovers(t *testing.T) {
	s, c := start(t, apitest.Options{})
	r := newStubborn(t)
	paths := map[string]events.JobID{}
	for _, name := range strings.Split("abcdefghijkl", "") {
		path := "/slow/" + name
		paths[path] = draw(c, m{"webhook": r.URL + path, "webhook_events_filter": []string{"start", "output", "completed"}}).ID
	}
	time.Sleep(6 * time.Second) // some have been given up waiting for, others were not tried
	r.release()
	for path := range paths {
		r.await(t, path, 12*time.Second) // sooner than their messages come back
	}
	state := func(d told) int {
		switch {
		case d.p.Status.Terminal():
			return 2
		case d.p.Output != nil:
			return 1
		}
		return 0
	}
	for path, id := range paths {
		last := 0
		seen := [3]bool{}
		for i, d := range r.all(path) {
			now := state(d)
			if d.p.ID != id || now < last || now != 2 && seen[now] {
				t.Errorf("%s: delivery %d is of state %d after %d", path, i, now, last)
			}
			last, seen[now] = now, true
		}
		if seen != [3]bool{true, true, true} {
			t.Errorf("%s was told %v of start, output and end", path, seen)
		}
	}
	if d, err := s.Ports.Queues.Queue("webhooks").Depth(t.Context()); err != nil || d.Dead != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestWaitingSurvives holds that what waits for a place is not lost with the process.
func TestWaitingSurvives(t *testing.T) {
	dir, clock := t.TempDir(), &apitest.Clock{}
	s, err := apitest.Start(dir, apitest.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler)
	c := &apitest.Client{T: t, URL: srv.URL, Token: s.Token(t, "me")}
	r := newStubborn(t)
	var paths []string
	for _, name := range strings.Split("abcdefghijkl", "") {
		paths = append(paths, "/slow/"+name)
		c.Wait(draw(c, m{"webhook": r.URL + "/slow/" + name}).ID)
	}
	waiting := 0
	for _, path := range paths {
		if len(r.all(path)) == 0 {
			waiting++
		}
	}
	srv.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if waiting == 0 {
		t.Fatal("every job has been tried: nothing was shown")
	}
	r.release()
	if s, err = apitest.Start(dir, apitest.Options{Clock: clock}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	clock.Advance(40 * time.Second) // leases are over, messages have come back
	for _, path := range paths {
		r.await(t, path, 20*time.Second)
	}
}
