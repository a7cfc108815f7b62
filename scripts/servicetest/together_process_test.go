//go:build unix

package servicetest

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Jobs that `lowrank serve` draws together have the pictures that each has alone,
// also when one of them is canceled, and when their runner is killed under them.
func TestServeTogether(t *testing.T) {
	needService(t)
	t.Parallel()
	s := serve(t, t.TempDir(), "")
	concept := s.succeeded(s.train(2, 2).ID).Output
	inputs := []map[string]any{
		{"prompt": "a cat", "seed": 1, "num_inference_steps": 60},
		{"prompt": "a cat in <1>", "seed": 2, "num_inference_steps": 60, "lora_urls": concept},
		{"prompt": "<1>", "seed": 3, "num_inference_steps": 40, "num_outputs": 2, "lora_urls": concept, "lora_scales": "0.5", "negative_prompt": "blue"},
	}
	long := map[string]any{"prompt": "a dog", "seed": 4, "num_inference_steps": 500}
	var alone [][][]byte
	for _, in := range inputs {
		alone = append(alone, s.drawn(s.succeeded(s.draw(in).ID)))
	}
	send := func() (ids []events.JobID) {
		for _, in := range append(slices.Clone(inputs), long) {
			ids = append(ids, s.draw(in).ID)
		}
		return ids
	}
	check := func(ids []events.JobID) {
		t.Helper()
		for i := range inputs {
			if got := s.drawn(s.succeeded(ids[i])); !slices.EqualFunc(got, alone[i], bytes.Equal) {
				t.Errorf("job %d has other pictures than alone", i)
			}
		}
	}
	working := func(p events.Prediction) bool { return p.Status == events.Processing && p.Logs != "" }

	ids := send()
	s.until(ids[3], "at work", working)
	s.call("POST", "/v1/predictions/"+string(ids[3])+"/cancel", nil, nil)
	check(ids)
	if p := s.get(ids[3]); p.Status != events.Canceled {
		t.Errorf("the canceled one is %s", p.Status)
	}
	if first, last := s.get(ids[0]), s.get(ids[3]); !last.StartedAt.Before(first.CompletedAt.Time) {
		t.Error("they were drawn one after the other")
	}

	ids = send()
	s.until(ids[3], "at work", working)
	kill9(t, s.runner(infra.PredictionQueue))
	check(ids)
	s.succeeded(ids[3])
	s.stop()
}

// drawn are a job's pictures.
func (s *service) drawn(p events.Prediction) (files [][]byte) {
	s.Helper()
	text, err := json.Marshal(p.Output)
	if err != nil {
		s.Fatal(err)
	}
	var urls []string
	if err := json.Unmarshal(text, &urls); err != nil || len(urls) == 0 {
		s.Fatalf("output %s: %v", text, err)
	}
	for _, url := range urls {
		var b []byte
		if code := s.call("GET", url, nil, &b); code != 200 {
			s.Fatalf("GET %s: %d", url, code)
		}
		files = append(files, b)
	}
	return files
}
