package notify_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/infra"
)

type m = map[string]any

// delivery is one request that a receiver got.
type delivery struct {
	header http.Header
	body   []byte
	events.Prediction
	at time.Time
}

// receiver keeps what it is told, and refuses as long as fail says.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []delivery
	fail func(n int, d delivery) bool
	slow time.Duration
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		d := delivery{header: req.Header, body: b, at: time.Now()}
		if err != nil || json.Unmarshal(b, &d.Prediction) != nil {
			t.Errorf("a webhook that is no JSON: %q", b)
		}
		time.Sleep(r.slow)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, d)
		if r.fail != nil && r.fail(len(r.got), d) {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// until waits for a condition on what was delivered.
func (r *receiver) until(t *testing.T, ok func([]delivery) bool) []delivery {
	t.Helper()
	for t.Context().Err() == nil {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if ok(got) {
			return got
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never delivered")
	return nil
}

func completed(n int) func([]delivery) bool {
	return func(ds []delivery) bool {
		ends := 0
		for _, d := range ds {
			if d.Status.Terminal() && !d.CompletedAt.IsZero() {
				ends++
			}
		}
		return ends >= n
	}
}

func start(t *testing.T, o apitest.Options) (*apitest.Service, *apitest.Client) {
	t.Helper()
	s, url, token := apitest.New(t, o)
	return s, &apitest.Client{T: t, URL: url, Token: token}
}

func draw(c *apitest.Client, more m) events.Prediction {
	body := m{"version": events.AnnouncedLoraID, "input": m{"prompt": `é <1> & "quotes"`}}
	for k, v := range more {
		body[k] = v
	}
	return c.Prediction(201, "POST", "/v1/predictions", body)
}

// TestDeliveries holds order, signature, form and the retry of the terminal event.
func TestDeliveries(t *testing.T) {
	_, c := start(t, apitest.Options{Draw: 1500 * time.Millisecond})
	r := newReceiver(t)
	refused := 0
	r.fail = func(_ int, d delivery) bool {
		if d.Status == events.Succeeded && refused < 2 {
			refused++
			return true
		}
		return false
	}
	p := draw(c, m{"webhook": r.URL})
	got := r.until(t, completed(3))

	var key struct{ Key string }
	c.Do("GET", "/v1/webhooks/default/secret", nil).JSON(t, &key)
	verifier, err := standardwebhooks.NewWebhook(key.Key)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	logs := 0
	ended := false
	for i, d := range got {
		if err := verifier.Verify(d.body, d.header); err != nil {
			t.Errorf("delivery %d: %v", i, err)
		}
		if ct := d.header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("delivery %d: %s", i, ct)
		}
		ids[d.header.Get("webhook-id")]++
		if len(d.Logs) < logs {
			t.Errorf("delivery %d: the log shrinks", i)
		}
		logs = len(d.Logs)
		if ended && d.Status != events.Succeeded {
			t.Errorf("delivery %d: %s after the end", i, d.Status)
		}
		ended = ended || d.Status.Terminal()
		if again, err := events.Marshal(d.Prediction); err != nil || string(again) != string(d.body) {
			t.Errorf("delivery %d is not what JSON.stringify would write: %s", i, d.body)
		}
	}
	if first := got[0]; first.Status != events.Processing || first.Output != nil || first.Logs != "" {
		t.Errorf("start: %s", first.body)
	}
	if output := got[len(got)-4]; output.Status != events.Processing || output.Output == nil || !output.CompletedAt.IsZero() {
		t.Errorf("output: %s", output.body)
	}
	last := got[len(got)-1]
	if ids[last.header.Get("webhook-id")] != 3 || len(ids) != len(got)-2 {
		t.Errorf("ids %v of %d deliveries: retries have the same, events their own", ids, len(got))
	}
	if gap := last.at.Sub(got[len(got)-2].at); gap < 900*time.Millisecond {
		t.Errorf("the second retry came after %v, without a pause", gap)
	}
	if get := c.Do("GET", p.URLs.Get, nil); string(get.Body) != string(last.body) {
		t.Errorf("the terminal delivery\n%s\nis not what GET answers\n%s", last.body, get.Body)
	}
}

func TestFilters(t *testing.T) {
	_, c := start(t, apitest.Options{Draw: 20 * time.Millisecond})
	for name, tt := range map[string]struct {
		body func(url string) m
		want []events.Status
	}{
		"Completed":        {func(u string) m { return m{"webhook": u, "webhook_events_filter": []string{"completed"}} }, []events.Status{events.Succeeded}},
		"WebhookCompleted": {func(u string) m { return m{"webhook_completed": u} }, []events.Status{events.Succeeded}},
		"StartCompleted": {func(u string) m { return m{"webhook": u, "webhook_events_filter": []string{"start", "completed"}} },
			[]events.Status{events.Processing, events.Succeeded}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			draw(c, tt.body(r.URL))
			got := r.until(t, completed(1))
			time.Sleep(200 * time.Millisecond) // more would come now
			got = r.until(t, func(ds []delivery) bool { return len(ds) >= len(got) })
			var states []events.Status
			for _, d := range got {
				states = append(states, d.Status)
			}
			if !slices.Equal(states, tt.want) {
				t.Errorf("got %v, want %v", states, tt.want)
			}
		})
	}
}

// TestLogsAlone holds that who asks for logs and not for the end gets the whole log.
func TestLogsAlone(t *testing.T) {
	_, c := start(t, apitest.Options{Draw: 20 * time.Millisecond})
	for _, filter := range [][]string{{"logs"}, {"logs", "output"}} {
		r := newReceiver(t)
		p := draw(c, m{"webhook": r.URL, "webhook_events_filter": filter})
		for !p.Status.Terminal() {
			p = c.Prediction(200, "GET", p.URLs.Get, nil)
		}
		if p.Logs == "" {
			t.Fatal("the job wrote no log: nothing was shown")
		}
		got := r.until(t, func(ds []delivery) bool { return len(ds) > 0 && ds[len(ds)-1].Logs == p.Logs })
		for _, d := range got {
			if d.Status != events.Processing {
				t.Errorf("%v: told of %s", filter, d.Status)
			}
		}
	}
}

// TestSlowReceiver holds that one receiver does not hold up another's deliveries.
func TestSlowReceiver(t *testing.T) {
	_, c := start(t, apitest.Options{})
	slow, quick := newReceiver(t), newReceiver(t)
	slow.slow = 2 * time.Second
	draw(c, m{"webhook": slow.URL})
	draw(c, m{"webhook": quick.URL})
	quick.until(t, completed(1))
	slow.mu.Lock()
	defer slow.mu.Unlock()
	if completed(1)(slow.got) {
		t.Error("the slow receiver was done first: nothing was shown")
	}
}

// TestNoRedirect holds that a webhook is not sent on to another address.
func TestNoRedirect(t *testing.T) {
	_, c := start(t, apitest.Options{})
	target := newReceiver(t)
	hits := make(chan struct{}, 100)
	redirect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits <- struct{}{}
		http.Redirect(w, r, target.URL, http.StatusTemporaryRedirect)
	}))
	defer redirect.Close()
	draw(c, m{"webhook": redirect.URL, "webhook_events_filter": []string{"completed"}})
	<-hits
	<-hits // the retry: a redirect is no success
	target.mu.Lock()
	defer target.mu.Unlock()
	if len(target.got) != 0 {
		t.Error("the redirect was followed")
	}
}

// TestGivenUp holds that the terminal event is tried for about a minute and not for ever.
func TestGivenUp(t *testing.T) {
	clock := &apitest.Clock{}
	s, c := start(t, apitest.Options{Clock: clock})
	r := newReceiver(t)
	r.fail = func(int, delivery) bool { return true }
	draw(c, m{"webhook": r.URL, "webhook_events_filter": []string{"completed"}})
	begun := clock.Now()
	for range 200 {
		r.mu.Lock()
		n := len(r.got)
		r.mu.Unlock()
		if n == 7 {
			break
		}
		clock.Advance(time.Second)
		time.Sleep(20 * time.Millisecond)
	}
	took := clock.Now().Sub(begun)
	clock.Advance(10 * time.Minute)
	time.Sleep(200 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != 7 || took < 55*time.Second || took > 3*time.Minute {
		t.Errorf("%d tries within %v", len(r.got), took)
	}
	d, err := s.Ports.Queues.Queue(infra.WebhookQueue).Depth(t.Context())
	if err != nil || d.Dead != 0 {
		t.Errorf("dead letters: %+v, %v", d, err)
	}
}

// TestAnnounced holds that outputs are announced after their record says succeeded, and only then.
func TestAnnounced(t *testing.T) {
	var s *apitest.Service
	type event struct {
		Type   string               `json:"detail-type"`
		Source string               `json:"source"`
		Detail events.OutputCreated `json:"detail"`
	}
	got := make(chan event, 10)
	bus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		rec, err := s.Ports.Jobs.Get(context.Background(), string(e.Detail.Prediction))
		if err != nil || rec.Status != string(events.Succeeded) {
			t.Errorf("announced while the record says %q, %v", rec.Status, err)
		}
		got <- e
	}))
	defer bus.Close()
	s, c := start(t, apitest.Options{EventsTo: bus.URL})
	p := c.Draw(m{"prompt": "x", "num_outputs": 2})
	a, b := <-got, <-got
	if a.Type != "lowrank.output.created" || a.Source != "lowrank" || a.Detail.Prediction != p.ID || a.Detail.ID == b.Detail.ID {
		t.Errorf("got %+v and %+v", a, b)
	}
	file := c.Do("GET", a.Detail.URL, nil)
	if file.Status != 200 || int64(len(file.Body)) != a.Detail.Size {
		t.Errorf("the announced URL: %d, %d bytes of %d", file.Status, len(file.Body), a.Detail.Size)
	}
}

// TestDuplicates holds that changes and messages that come twice or late deliver nothing twice.
func TestDuplicates(t *testing.T) {
	s, c := start(t, apitest.Options{})
	r := newReceiver(t)
	p := draw(c, m{"webhook": r.URL})
	before := r.until(t, completed(1))
	rec, err := s.Ports.Jobs.Get(t.Context(), string(p.ID))
	if err != nil {
		t.Fatal(err)
	}
	n := notify.New(s.Ports, http.DefaultClient, s.Log)
	old := rec
	old.Payload = json.RawMessage(`{"id":"` + string(p.ID) + `","status":"processing"}`)
	for range 3 {
		if err := n.Change(t.Context(), infra.Change{ID: rec.ID, Old: &old, New: &rec}); err != nil {
			t.Fatal(err)
		}
		body, err := events.Marshal(events.Deliver{Type: events.TypeWebhook, ID: p.ID})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Handle(t.Context(), body); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Handle(t.Context(), []byte("nonsense")); err != nil {
		t.Errorf("nonsense would come again: %v", err)
	}
	time.Sleep(300 * time.Millisecond)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != len(before) {
		t.Errorf("%d deliveries became %d", len(before), len(r.got))
	}
}
