//go:build unix

package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/faulty"
)

// storms are the numbers of jobs by seed: LOWRANK_STORM in all, else a few for
// every day. LOWRANK_SEED is another storm's seed.
func storms(t *testing.T) map[uint64]int {
	seed := uint64(1)
	if text := os.Getenv("LOWRANK_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("LOWRANK_SEED=%s is no number", text)
		}
		seed = n
	}
	text := os.Getenv("LOWRANK_STORM")
	if text == "" {
		return map[uint64]int{seed: 20}
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 40 {
		t.Fatalf("LOWRANK_STORM=%s is no number of jobs from 40 on", text)
	}
	return map[uint64]int{seed: n / 2, seed + 1: n - n/2}
}

// wish is a job that the client asked for, and what may become of it.
type wish struct {
	id       events.JobID
	want     [][]string // outputs that are right, one of these
	refused  bool       // its program fails it
	canceled bool
	deleted  bool
}

// TestChaos runs many small jobs through the whole service while every call of
// every port may fail, lose its answer, happen twice or break off, messages change
// places, and runners are killed at random. None is lost, none has two different
// outputs, and each webhook's last state is the true one.
func TestChaos(t *testing.T) {
	for seed, jobs := range storms(t) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, jobs, seed) })
		})
	}
}

func chaos(t *testing.T, jobs int, seed uint64) {
	w := newWorld(t, faulty.Plan{Seed: seed, FailBefore: 0.03, FailAfter: 0.03, Twice: 0.04, Break: 0.02, Reorder: 3 * time.Second})
	defer w.close()
	ctx, still := context.WithCancel(t.Context())
	killers, calm := context.WithCancel(ctx)
	w.runners(killers, infra.PredictionQueue, 3, 25*time.Second, seed)
	w.runners(killers, infra.TrainingQueue, 3, 40*time.Second, seed+100)

	c := &client{world: w, chance: rand.New(rand.NewPCG(seed, 7))}
	c.call("POST", "/v1/models", map[string]any{"owner": "me", "name": "mine", "visibility": "private", "hardware": "cpu"}, nil, 409)
	var wishes []*wish
	var later sync.WaitGroup
	for i := range jobs {
		wishes = append(wishes, c.ask(i, &later))
		time.Sleep(time.Duration(c.chance.IntN(900)) * time.Millisecond)
	}
	later.Wait()
	for _, wish := range wishes {
		c.await(wish.id, wish.deleted)
	}
	// Jobs of requests that failed after they took effect run, too.
	all := c.everything()
	for _, id := range all {
		c.await(id, false)
	}
	took := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))

	// Then it is calm for a while, and what is left over must go.
	calm()
	w.faults.Off()
	w.runners(ctx, infra.PredictionQueue, 1, time.Hour*1000, seed)
	w.runners(ctx, infra.TrainingQueue, 1, time.Hour*1000, seed)
	time.Sleep(4 * time.Minute)
	counts := map[string]int{}
	for _, wish := range wishes {
		counts[c.check(wish)]++
	}
	c.checkRest(wishes, all)
	still()
	if counts["succeeded"] < jobs*7/10 {
		t.Errorf("ends: %v: the storm left too little to be shown", counts)
	}
	if int(w.kills.Load()) < jobs/10 {
		t.Errorf("only %d runners were killed", w.kills.Load())
	}
	t.Logf("%d jobs in %v: %v; %d made by requests that failed; %d runners killed, %d stopped; %d webhooks; faults: %v",
		jobs, took.Round(time.Second), counts, len(all)-len(wishes)+counts["deleted"], w.kills.Load(), w.stops.Load(), w.hooks.total, totals(w.faults.Counts()))
}

// totals sums counts of faults over the operations.
func totals(counts map[string]int) map[string]int {
	out := map[string]int{}
	for k, n := range counts {
		_, what, _ := strings.Cut(k, " ")
		out[what] += n
	}
	return out
}

// client asks for jobs, and tries again where the service says that it failed.
type client struct {
	*world
	chance *rand.Rand
}

// call sends a request until the answer is one; statuses in fine are none of the
// errors that end the test.
func (c *client) call(method, path string, body, into any, fine ...int) int {
	if strings.HasPrefix(path, "/") {
		path = "http://" + serviceHost + path
	}
	for range 100 {
		text, ok := body.([]byte)
		if !ok && body != nil {
			text, _ = json.Marshal(body)
		}
		req, err := http.NewRequestWithContext(c.Context(), method, path, bytes.NewReader(text))
		if err != nil {
			c.Error(err)
			return 0
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		resp, err := (&http.Client{Transport: c.wire}).Do(req)
		if err != nil {
			c.Error(err)
			return 0
		}
		answer, err := io.ReadAll(resp.Body)
		switch {
		case err != nil || resp.StatusCode >= 500:
			time.Sleep(time.Second)
			continue
		case resp.StatusCode >= 400 && !slices.Contains(fine, resp.StatusCode):
			c.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
		case into != nil && resp.StatusCode < 400:
			if err := json.Unmarshal(answer, into); err != nil {
				c.Errorf("%s %s: %v: %s", method, path, err, answer)
			}
		}
		return resp.StatusCode
	}
	c.Errorf("%s %s never answered", method, path)
	return 0
}

var hookFilters = [][]string{nil, {"completed"}, {"start", "output", "logs", "completed"}}

// ask asks for one job of one of several kinds.
func (c *client) ask(i int, later *sync.WaitGroup) *wish {
	seed := c.chance.Int64N(1 << 30)
	body := map[string]any{"webhook": "http://receiver.test/hook"}
	if f := hookFilters[c.chance.IntN(len(hookFilters))]; f != nil {
		body["webhook_events_filter"] = f
	}
	wish := &wish{}
	var p events.Prediction
	switch kind := c.chance.IntN(10); {
	case kind < 7:
		in := map[string]any{"prompt": fmt.Sprint("job ", i), "seed": seed, "num_outputs": 1 + i%3}
		if i%20 == 3 {
			in["prompt"], wish.refused = "refuse", true
		}
		body["version"], body["input"] = events.AnnouncedLoraID, in
		var want []string
		for k := range 1 + i%3 {
			want = append(want, pictureOf(seed, k))
		}
		wish.want = [][]string{want}
		c.call("POST", "/v1/predictions", body, &p)
	default: // an upload that trains by itself
		body["model"], body["input"] = "replicate/lora-training", map[string]any{"seed": seed}
		if kind == 9 {
			body["destination"] = "me/mine"
		}
		var up events.Upload
		c.call("POST", "/v1/upload/bob-ross.zip", map[string]any{"train": body}, &up)
		if up.Prediction == nil {
			c.Errorf("no prediction with the upload")
			return wish
		}
		p = *up.Prediction
		zips := [][]byte{fmt.Appendf(nil, "PK\x03\x04 the zip %d", i), fmt.Appendf(nil, "PK\x03\x04 another zip %d", i)}
		wish.want = append(wish.want, []string{trained(zips[0], seed)})
		c.call("PUT", up.UploadURL, zips[0], nil)
		if i%3 == 0 { // a second PUT may come before the first was seen, and then it counts
			wish.want = append(wish.want, []string{trained(zips[1], seed)})
			c.call("PUT", up.UploadURL, zips[1], nil)
		}
	}
	wish.id = p.ID
	switch after := time.Duration(c.chance.IntN(20)) * time.Second; {
	case i%15 == 7:
		wish.canceled = true
		later.Go(func() {
			time.Sleep(after)
			c.call("POST", "/v1/predictions/"+string(p.ID)+"/cancel", nil, nil)
		})
	case i%15 == 8:
		wish.deleted = true
		later.Go(func() {
			time.Sleep(after)
			c.call("DELETE", "/v1/predictions/"+string(p.ID), nil, nil, 404)
		})
	}
	return wish
}

// await waits for the job's end and, unless it is deleted, for the word of it.
func (c *client) await(id events.JobID, deleted bool) {
	for range 4000 {
		var p events.Prediction
		switch status := c.call("GET", "/v1/predictions/"+string(id), nil, &p, 404); {
		case status == 404:
			if !deleted {
				c.Errorf("%s is lost", id)
			}
			return
		case p.Status.Terminal():
			return
		}
		time.Sleep(time.Second)
	}
	j, err := c.jobs.Load(c.Context(), id)
	c.Errorf("%s has not ended: %+v, %v", id, j, err)
}

// everything lists all jobs that there are.
func (c *client) everything() (ids []events.JobID) {
	for _, next := range []string{"/v1/predictions", "/v1/trainings"} {
		for next != "" {
			var page struct {
				Next    *string
				Results []struct{ ID events.JobID }
			}
			c.call("GET", next, nil, &page)
			for _, p := range page.Results {
				ids = append(ids, p.ID)
			}
			next = ""
			if page.Next != nil {
				next = *page.Next
			}
		}
	}
	return ids
}

// check looks at one job's end and says how it came to it. A job may fail for two
// reasons alone: its program refuses it, or it was in the hands of as many runners
// that were killed as the rule has it.
func (c *client) check(w *wish) string {
	var raw json.RawMessage
	if c.call("GET", "/v1/predictions/"+string(w.id), nil, &raw, 404) == 404 {
		if !w.deleted {
			c.Errorf("%s is lost", w.id)
		}
		return "deleted"
	}
	if w.deleted {
		c.Errorf("%s was deleted and is there", w.id)
	}
	var p events.Prediction
	if err := json.Unmarshal(raw, &p); err != nil {
		c.Error(err)
		return ""
	}
	end := string(p.Status)
	switch p.Status {
	case events.Succeeded:
		if w.refused {
			c.Errorf("%s succeeded, its program refuses it", w.id)
		}
		if got := c.outputs(p); !slices.ContainsFunc(w.want, func(want []string) bool { return slices.Equal(want, got) }) {
			c.Errorf("%s made %q, want one of %q", w.id, got, w.want)
		}
	case events.Canceled:
		if !w.canceled {
			c.Errorf("%s was canceled by nobody", w.id)
		}
	case events.Failed:
		switch reason := deref(p.Error); {
		case strings.Contains(reason, "is refused") && w.refused:
			end = "refused by its program"
		case strings.Contains(reason, "given up"):
			end = "given up"
			if n := c.bereft[w.id]; n < events.MaxCrashes {
				c.Errorf("%s was given up (%s) after %d of its runners were killed, want %d", w.id, reason, n, events.MaxCrashes)
			}
		default:
			c.Errorf("%s failed: %s", w.id, reason)
		}
	default:
		c.Errorf("%s ended as %s", w.id, p.Status)
	}
	// The webhook's last word is what GET says, byte for byte in what it says.
	var told, is any
	if err := json.Unmarshal(c.hooks.told(w.id), &told); err != nil {
		c.Errorf("%s: its webhook was told %q", w.id, c.hooks.told(w.id))
	}
	if err := json.Unmarshal(raw, &is); err != nil || fmt.Sprint(told) != fmt.Sprint(is) {
		c.Errorf("%s: told\n%v\nis\n%v", w.id, told, is)
	}
	return end
}

// outputs downloads what a job made.
func (c *client) outputs(p events.Prediction) (got []string) {
	var urls []string
	switch out := p.Output.(type) {
	case string:
		urls = []string{out}
	case []any:
		for _, u := range out {
			urls = append(urls, fmt.Sprint(u))
		}
	case map[string]any:
		urls = []string{fmt.Sprint(out["weights"])}
	default:
		c.Errorf("%s has the output %v", p.ID, out)
	}
	for _, u := range urls {
		resp, err := (&http.Client{Transport: c.wire}).Get(u)
		if err != nil {
			c.Error(err)
			continue
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			c.Errorf("%s: %s, %v", u, resp.Status, err)
		}
		got = append(got, string(b))
	}
	return got
}

// checkRest looks at what is in the store beside the jobs.
func (c *client) checkRest(wishes []*wish, all []events.JobID) {
	// No output ever had two contents.
	c.puts.mu.Lock()
	for key, sums := range c.puts.sums {
		if len(sums) != 1 {
			c.Errorf("%s had %d different contents", key, len(sums))
		}
	}
	c.puts.mu.Unlock()
	known := map[events.JobID]bool{}
	for _, id := range all {
		known[id] = true
	}
	for _, w := range wishes {
		if !known[w.id] && !w.deleted {
			c.Errorf("%s is not listed", w.id)
		}
	}
	// Announced is what succeeded, all of it, and nothing else. Blobs are what
	// records name. What a job that was given up has put stays for now: those who
	// give it up, the sweep and dead letters, remove nothing.
	var givenUp []string
	named, announced := map[string]bool{}, map[string]bool{}
	for _, id := range all {
		j, err := c.jobs.Load(c.Context(), id)
		if err != nil {
			continue // deleted
		}
		if j.Status == events.Failed && strings.Contains(j.Error, "given up") {
			givenUp = append(givenUp, j.OutputKeyPrefix(), j.CheckpointKeyPrefix())
		}
		for _, a := range j.Announcements() {
			named[a.Key], announced[a.ID] = true, true
			if c.bus.got[a.ID] == 0 {
				c.Errorf("output %s was not announced", a.ID)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.bus.got)) {
		job, _, _ := strings.Cut(id, "-")
		if j, err := c.jobs.Load(c.Context(), events.JobID(job)); err == nil && !announced[id] {
			c.Errorf("%s was announced; its job is %s", id, j.Status)
		}
	}
	for _, prefix := range []string{"outputs/", "checkpoints/"} {
		for cursor := ""; ; {
			page, err := c.plain.Blobs.List(c.Context(), prefix, cursor, 0)
			if err != nil {
				c.Fatal(err)
			}
			for _, b := range page.Items {
				if !named[b.Key] && !slices.ContainsFunc(givenUp, func(p string) bool { return strings.HasPrefix(b.Key, p) }) {
					c.Errorf("%s was left behind", b.Key)
				}
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	for _, name := range []string{infra.PredictionQueue, infra.TrainingQueue, infra.ObjectQueue, infra.WebhookQueue} {
		d, err := c.plain.Queues.Queue(name).Depth(c.Context())
		if err != nil || d.Waiting+d.Leased > 0 {
			c.Errorf("queue %s holds %+v, %v", name, d, err)
		}
	}
}

func readFile(path string) ([]byte, error) { return os.ReadFile(path) }

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
