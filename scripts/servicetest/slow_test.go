//go:build unix

package servicetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// TestSlowWebhooks holds that an owner whose receiver does not answer in time delays no other owner's webhooks,
// though one server receives both, and that a service that is killed meanwhile loses none of them.
func TestSlowWebhooks(t *testing.T) {
	needService(t)
	t.Parallel()
	recovered := make(chan struct{})
	var mu sync.Mutex
	ends := map[events.JobID]time.Time{} // when each job's end was taken
	there := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var p events.Prediction
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			return // broken off
		}
		if strings.HasPrefix(r.URL.Path, "/slow") {
			select {
			case <-recovered:
			case <-time.After(6 * time.Second):
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if p.Status.Terminal() {
			ends[p.ID] = time.Now()
		}
	}))
	defer there.Close()
	dir := t.TempDir()
	s := serve(t, dir, "", "--allow-loopback")
	ask := func(s *service, hook string, filter ...string) events.JobID {
		body := map[string]any{"version": "replicate/lora", "webhook": there.URL + hook, "input": map[string]any{"prompt": "a cat", "num_inference_steps": 1}}
		if filter != nil {
			body["webhook_events_filter"] = filter
		}
		var p events.Prediction
		s.call("POST", "/v1/predictions", body, &p)
		return p.ID
	}
	told := func(s *service, id events.JobID, patience time.Duration) time.Time {
		for deadline := time.Now().Add(patience); ; {
			s.alive()
			mu.Lock()
			at, ok := ends[id]
			mu.Unlock()
			if ok {
				return at
			}
			if time.Now().After(deadline) {
				t.Fatalf("the end of %s was not told within %v", id, patience)
			}
			pause()
		}
	}

	var slow []events.JobID
	for i := range 40 {
		slow = append(slow, ask(s, fmt.Sprint("/slow", i)))
	}
	for _, id := range slow {
		s.succeeded(id)
	}
	token, stderr, code := run(t, "token", "create", "--data", dir, "--owner", "bob")
	if code != 0 {
		t.Fatal(stderr)
	}
	bob := s.in(t)
	bob.token = strings.TrimSpace(token)
	id := ask(bob, "/bob", "completed")
	p := bob.succeeded(id)
	if late := told(bob, id, 20*time.Second).Sub(p.CompletedAt.Time); late > 2*time.Second {
		t.Errorf("told %v after the end", late)
	} else {
		t.Logf("told %v after the end", late)
	}

	left := s.runners()
	s.kill()
	s.gone(left, 30*time.Second)
	close(recovered)
	s = serve(t, dir, s.token, "--allow-loopback")
	for _, id := range slow {
		told(s, id, time.Minute)
	}
	s.stop()
}
