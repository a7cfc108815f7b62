//go:build unix

package servicetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// TestStorm is Chaos with real processes: runners are killed at random while they
// draw and train with the embedded base, and the service itself, too. Every job is
// asked for twice, and both must make the same bytes.
func TestStorm(t *testing.T) {
	needService(t)
	t.Parallel()
	const seed, pairs, kills = 11, 14, 8
	chance := rand.New(rand.NewPCG(seed, 1))
	hooks := newReceiver(t, seed)
	there := httptest.NewServer(hooks)
	defer there.Close()
	s := serve(t, t.TempDir(), "", "--runners", "2", "--allow-loopback")
	address := strings.TrimPrefix(s.url, "http://")

	var jobs [][2]events.JobID
	ask := func(i int) events.JobID {
		var p events.Prediction
		if i%7 == 6 {
			s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-advanced-training", "webhook": there.URL, "input": map[string]any{
				"instance_data": s.serving(), "seed": i, "max_train_steps_ti": 5, "max_train_steps_tuning": 10}}, &p)
		} else {
			s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora", "webhook": there.URL, "input": map[string]any{
				"prompt": fmt.Sprint("cat ", i), "seed": i, "num_inference_steps": 10 + i, "num_outputs": 2}}, &p)
		}
		return p.ID
	}
	for i := range pairs {
		jobs = append(jobs, [2]events.JobID{ask(i), ask(i)})
	}
	for k := range kills {
		time.Sleep(time.Duration(500+chance.IntN(2000)) * time.Millisecond)
		if k == 3 || k == 6 {
			children := s.runners()
			s.kill()
			s.gone(children, 30*time.Second)
			s = serve(t, s.dir, s.token, "--runners", "2", "--allow-loopback", "--addr", address)
			continue
		}
		var pids []int
		for pid, line := range s.runners() {
			if strings.Contains(line, " runner ") {
				pids = append(pids, pid)
			}
		}
		slices.Sort(pids)
		if len(pids) > 0 {
			kill9(t, pids[chance.IntN(len(pids))])
		}
	}
	counts := map[events.Status]int{}
	for i, pair := range jobs {
		var made [2]string
		for k, id := range pair {
			p := s.get(id)
			for ; !p.Status.Terminal(); p = s.get(id) {
				s.alive()
				time.Sleep(200 * time.Millisecond)
			}
			counts[p.Status]++
			if p.Status != events.Succeeded && !strings.Contains(deref(p.Error), "given up") {
				t.Errorf("job %d: %s %q", i, p.Status, deref(p.Error))
			}
			var told events.Prediction
			for told.Status != p.Status { // it may be on its way; the test's own limit ends this
				time.Sleep(100 * time.Millisecond)
				if body := hooks.told(id); body != nil {
					if err := json.Unmarshal(body, &told); err != nil {
						t.Fatal(err)
					}
				}
			}
			if fmt.Sprint(told.Output) != fmt.Sprint(p.Output) || told.Logs != p.Logs || deref(told.Error) != deref(p.Error) {
				t.Errorf("job %d: told %+v, is %+v", i, told, p)
			}
			if p.Status == events.Succeeded {
				made[k] = s.bytes(p)
			}
		}
		if made[0] != "" && made[1] != "" && made[0] != made[1] {
			t.Errorf("job %d made two different outputs", i)
		}
	}
	s.stop()
	if counts[events.Succeeded] < pairs {
		t.Errorf("ends: %v: too few to show anything", counts)
	}
	t.Logf("ends: %v", counts)
}

// serving uploads the sample pictures once, and returns where they are.
func (s *service) serving() string {
	s.Helper()
	if s.pictures == "" {
		var up events.Upload
		s.call("POST", "/v1/upload/neon-sign.zip", nil, &up)
		s.call("PUT", up.UploadURL, neonSigns(s.T), nil)
		s.pictures = up.ServingURL
	}
	return s.pictures
}

// bytes downloads all that a job made.
func (s *service) bytes(p events.Prediction) string {
	s.Helper()
	var all strings.Builder
	urls, ok := p.Output.([]any)
	if !ok {
		urls = []any{p.Output}
	}
	for _, u := range urls {
		var b []byte
		if code := s.call("GET", fmt.Sprint(u), nil, &b); code != 200 {
			s.Errorf("GET %s: %d", u, code)
		}
		all.Write(b)
	}
	return all.String()
}
