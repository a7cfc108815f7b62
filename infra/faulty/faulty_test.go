package faulty_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/faulty"
	"github.com/lowrank/lowrank/infra/infratest"
	"github.com/lowrank/lowrank/infra/local"
)

func openLocal(t *testing.T) (infra.Ports, *infratest.Clock) {
	t.Helper()
	clock, server := infratest.NewClock(time.Now()), httptest.NewUnstartedServer(nil)
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{Clock: clock, PublicURL: "http://" + server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	server.Config.Handler = s.UploadHandler()
	server.Start()
	t.Cleanup(server.Close)
	return s.Ports(), clock
}

// With delays alone the wrapper changes nothing that the ports promise.
func TestConformance(t *testing.T) {
	infratest.Run(t, func(t *testing.T) infratest.Adapter {
		ports, clock := openLocal(t)
		wrapped, _ := faulty.Wrap(ports, faulty.Plan{Slow: 0.2, MaxSlow: time.Millisecond})
		return infratest.Adapter{Ports: wrapped, Advance: clock.Advance}
	})
}

func record(clock infra.Clock) infra.Record {
	return infra.Record{ID: "job1", Owner: "alice", Kind: "prediction", CreatedAt: clock.Now(), Payload: json.RawMessage("{}")}
}

func always(op string) func(string) bool { return func(o string) bool { return o == op } }

func TestFailBefore(t *testing.T) {
	ports, clock := openLocal(t)
	wrapped, faults := faulty.Wrap(ports, faulty.Plan{FailBefore: 1, Only: always("jobs.Create")})
	_, err := wrapped.Jobs.Create(t.Context(), record(clock))
	if !infra.Retryable(err) || !faulty.Injected(err) {
		t.Errorf("got %v, want an injected error that may pass", err)
	}
	if _, err := wrapped.Jobs.Get(t.Context(), "job1"); infra.KindOf(err) != infra.ErrNotFound {
		t.Errorf("got %v, want that nothing happened", err)
	}
	faults.Off()
	if _, err := wrapped.Jobs.Create(t.Context(), record(clock)); err != nil {
		t.Errorf("after Off: %v", err)
	}
	want := map[string]int{"jobs.Create before": 1, "jobs.Create none": 1, "jobs.Get none": 1}
	if got := faults.Counts(); !maps.Equal(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
}

func TestFailAfter(t *testing.T) {
	ports, clock := openLocal(t)
	wrapped, _ := faulty.Wrap(ports, faulty.Plan{FailAfter: 1})
	if _, err := wrapped.Jobs.Create(t.Context(), record(clock)); !infra.Retryable(err) {
		t.Errorf("got %v, want an error that may pass", err)
	}
	if _, err := ports.Jobs.Get(t.Context(), "job1"); err != nil {
		t.Errorf("got %v, want that it happened", err)
	}
	if _, err := wrapped.Blobs.Put(t.Context(), "a", strings.NewReader("x"), infra.PutOptions{}); !infra.Retryable(err) {
		t.Errorf("got %v, want an error that may pass", err)
	}
	if info, err := ports.Blobs.Stat(t.Context(), "a", ""); err != nil || info.Size != 1 {
		t.Errorf("got %+v, %v, want that it happened", info, err)
	}
	if _, err := wrapped.Blobs.Get(t.Context(), "a", infra.GetOptions{}); !infra.Retryable(err) {
		t.Errorf("got %v, want an error that may pass", err)
	}
}

func TestTwice(t *testing.T) {
	ports, clock := openLocal(t)
	wrapped, _ := faulty.Wrap(ports, faulty.Plan{Twice: 1})
	q := wrapped.Queues.Queue(infra.PredictionQueue)
	if err := q.Send(t.Context(), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if d, err := ports.Queues.Queue(infra.PredictionQueue).Depth(t.Context()); err != nil || d.Waiting != 2 {
		t.Errorf("depth %+v, %v, want two messages", d, err)
	}
	// As with a client library's own retry: the first took effect, the second answers.
	if _, err := wrapped.Jobs.Create(t.Context(), record(clock)); infra.KindOf(err) != infra.ErrExists {
		t.Errorf("got %v, want that it exists already", err)
	}
	first, err := wrapped.Blobs.Put(t.Context(), "a", strings.NewReader("body"), infra.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	blob, err := wrapped.Blobs.Get(t.Context(), "a", infra.GetOptions{Generation: first.Generation})
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Body.Close()
	if b, err := io.ReadAll(blob.Body); err != nil || string(b) != "body" {
		t.Errorf("read %q, %v, want the body", b, err)
	}
}

func TestBreak(t *testing.T) {
	ports, _ := openLocal(t)
	body := strings.Repeat("x", 100<<10)
	if _, err := ports.Blobs.Put(t.Context(), "a", strings.NewReader(body), infra.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	wrapped, _ := faulty.Wrap(ports, faulty.Plan{Break: 1})
	for range 10 {
		if _, err := wrapped.Blobs.Put(t.Context(), "a", strings.NewReader("other"+body), infra.PutOptions{}); !infra.Retryable(err) {
			t.Errorf("Put: got %v, want an error that may pass", err)
		}
		blob, err := wrapped.Blobs.Get(t.Context(), "a", infra.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(blob.Body)
		blob.Body.Close()
		if !faulty.Injected(err) || len(b) >= len(body) || strings.Trim(string(b), "x") != "" {
			t.Errorf("read %d bytes and %v, want fewer than %d of the first body and a failure", len(b), err, len(body))
		}
	}
}

// The same seed meets the same faults, another one others; all kinds happen.
func TestSeed(t *testing.T) {
	ports, _ := openLocal(t)
	run := func(seed uint64) (trace string) {
		wrapped, faults := faulty.Wrap(ports, faulty.Plan{Seed: seed, FailBefore: 0.2, FailAfter: 0.2, Twice: 0.2, Slow: 0.2, MaxSlow: time.Microsecond})
		before := map[string]int{}
		for range 60 {
			wrapped.Jobs.Get(t.Context(), "job1")
			for k, n := range faults.Counts() {
				if n != before[k] {
					trace += k + "\n"
					before[k] = n
				}
			}
		}
		return trace
	}
	one := run(1)
	if again := run(1); again != one {
		t.Error("the same seed met other faults")
	}
	if other := run(2); other == one {
		t.Error("another seed met the same faults")
	}
	for _, fault := range []string{"none", "before", "after", "twice", "slow"} {
		if !strings.Contains(one, "jobs.Get "+fault) {
			t.Errorf("no call met %q", fault)
		}
	}
}

func TestReorder(t *testing.T) {
	ports, clock := openLocal(t)
	wrapped, _ := faulty.Wrap(ports, faulty.Plan{Reorder: 10 * time.Second})
	q := wrapped.Queues.Queue(infra.PredictionQueue)
	const n = 20
	for i := range n {
		if err := q.Send(t.Context(), []byte{byte('a' + i)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	got := ""
	for range 200 {
		messages, err := q.Receive(t.Context(), 3, 0, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			got += string(m.Body)
		}
		clock.Advance(100 * time.Millisecond)
	}
	if len(got) != n || got == "abcdefghijklmnopqrst" {
		t.Errorf("received %q, want all 20 in another order", got)
	}
}
