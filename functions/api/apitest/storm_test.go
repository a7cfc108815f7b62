package apitest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/faulty"
	"github.com/lowrank/lowrank/infra/predictions"
)

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

// TestStorm runs many small jobs while every port call may fail, be slow, lose its answer or happen twice,
// messages change places, runners die and the webhooks' receiver fails. No job is lost, none has two
// different outputs, and each webhook's last state is the true one. LOWRANK_STORM is the number of
// jobs, LOWRANK_SEED another storm's seed.
func TestStorm(t *testing.T) {
	jobs := 40
	if n, err := strconv.Atoi(os.Getenv("LOWRANK_STORM")); err == nil && n > 0 {
		jobs = n
	}
	seed := uint64(7)
	if n, err := strconv.ParseUint(os.Getenv("LOWRANK_SEED"), 10, 64); err == nil {
		seed = n
	}
	var faults *faulty.Faults
	var seen *witness
	s, url, token := apitest.New(t, apitest.Options{
		Idle:       true,
		Visibility: 3 * time.Second,
		Limits:     api.Limits{OpenJobs: 1 << 20},
		Wrap: func(p infra.Ports) infra.Ports {
			seen = &witness{Blobs: p.Blobs, sums: map[string]map[string]bool{}}
			p.Blobs = seen
			p, faults = faulty.Wrap(p, faulty.Plan{Seed: seed, FailBefore: 0.03, FailAfter: 0.03, Twice: 0.04, Slow: 0.02, Break: 0.02, MaxSlow: 5 * time.Millisecond, Reorder: 20 * time.Millisecond})
			return p
		},
	})

	// The receiver keeps the last body of each job and refuses one in ten.
	var mu sync.Mutex
	last := map[events.JobID]events.Prediction{}
	ended := map[events.JobID]bool{}
	chance := rand.New(rand.NewPCG(seed, 1))
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p events.Prediction
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
			return // broken off
		}
		mu.Lock()
		defer mu.Unlock()
		if chance.Float64() < 0.1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if ended[p.ID] && !p.Status.Terminal() {
			t.Errorf("%s: %s after its end", p.ID, p.Status)
		}
		ended[p.ID] = ended[p.ID] || p.Status.Terminal()
		last[p.ID] = p
	}))
	defer receiver.Close()

	// Runners die in the middle of one job in eight: what they hold comes back when its lease is over.
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	deaths := rand.New(rand.NewPCG(seed, 2))
	dies := func(*predictions.Run) error {
		mu.Lock()
		defer mu.Unlock()
		if deaths.Float64() < 0.125 {
			return fmt.Errorf("killed")
		}
		return nil
	}
	for _, q := range []string{infra.PredictionQueue, infra.PredictionQueue, infra.PredictionQueue, infra.TrainingQueue} {
		running.Go(func() {
			(&apitest.Runner{Ports: s.Ports, Queue: q, Base: s.Base, Lease: time.Second, Before: dies}).Run(ctx)
		})
	}
	sweeper := sweep.New(s.Ports, 0, s.Log)
	running.Go(func() {
		for infra.Sleep(ctx, infra.SystemClock{}, time.Second) == nil {
			_ = sweeper.Rest(ctx) // it comes again
		}
	})

	c := &apitest.Client{T: t, URL: url, Token: token}
	var ids []events.JobID
	zip := apitest.Zip(1)
	for i := range jobs {
		method, path, body := "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{"prompt": fmt.Sprint(i), "seed": i}, "webhook": receiver.URL}
		if i%10 == 0 {
			path, body = "/v1/upload/x.zip", m{"train": m{"model": "replicate/lora-training", "input": m{"seed": i}, "webhook": receiver.URL}}
		}
		a := c.Do(method, path, body)
		for a.Status == http.StatusServiceUnavailable { // as a client that tries again
			a = c.Do(method, path, body)
		}
		var p events.Prediction
		if a.Status/100 != 2 {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		if i%10 == 0 {
			var up events.Upload
			a.JSON(t, &up)
			for put := (&apitest.Client{T: t}).Do("PUT", up.UploadURL, zip); put.Status != 200; {
				put = (&apitest.Client{T: t}).Do("PUT", up.UploadURL, zip)
			}
			p = *up.Prediction
		} else {
			a.JSON(t, &p)
		}
		ids = append(ids, p.ID)
		if i%20 == 5 {
			c.Do("POST", p.URLs.Cancel, nil) // it may have ended, or the call may fail: either way it is a state
		}
	}

	counts := map[events.Status]int{}
	for _, id := range ids {
		p := waitFor(t, c, id)
		counts[p.Status]++
		if p.Status == events.Succeeded && p.Output == nil || p.Status == events.Failed && (p.Error == nil || *p.Error == "") {
			t.Errorf("%s: %s with output %v, error %v", id, p.Status, p.Output, p.Error)
		}
		// The webhook's last state is the true one, however late it comes.
		for {
			mu.Lock()
			told, ok := last[id]
			mu.Unlock()
			if ok && told.Status.Terminal() {
				if told.Status != p.Status || fmt.Sprint(told.Output) != fmt.Sprint(p.Output) || told.Logs != p.Logs || !told.CompletedAt.Equal(p.CompletedAt.Time) {
					t.Errorf("%s: told %s %v, is %s %v", id, told.Status, told.Output, p.Status, p.Output)
				}
				break
			}
			if t.Context().Err() != nil {
				t.Fatal("the test has ended")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	faults.Off()
	stop()
	running.Wait()

	for key, sums := range seen.sums {
		if len(sums) != 1 {
			t.Errorf("%s had %d different contents", key, len(sums))
		}
	}
	var listed []events.JobID
	for cursor := "/v1/predictions"; cursor != ""; {
		var page struct {
			Next    *string
			Results []events.Prediction
		}
		c.Do("GET", cursor, nil).JSON(t, &page)
		cursor = ""
		if page.Next != nil {
			cursor = *page.Next
		}
		for _, p := range page.Results {
			listed = append(listed, p.ID)
		}
	}
	for _, id := range ids {
		if !slices.Contains(listed, id) {
			t.Errorf("%s is not listed", id)
		}
	}
	if counts[events.Succeeded] < jobs/2 {
		t.Errorf("ends: %v: the storm left too little to be shown", counts)
	}
	t.Logf("%d jobs: %v; faults: %v", jobs, counts, total(faults.Counts()))
}

type m = map[string]any

func waitFor(t *testing.T, c *apitest.Client, id events.JobID) events.Prediction {
	t.Helper()
	for t.Context().Err() == nil {
		a := c.Do("GET", "/v1/predictions/"+string(id), nil)
		var p events.Prediction
		if a.Status == http.StatusOK {
			a.JSON(t, &p)
			if p.Status.Terminal() {
				return p
			}
		} else if a.Status != http.StatusServiceUnavailable {
			t.Fatalf("GET %s: %d %s", id, a.Status, a.Body)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the test has ended")
	return events.Prediction{}
}

func total(counts map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range counts {
		_, what, _ := strings.Cut(k, " ")
		out[what] += n
	}
	return out
}
