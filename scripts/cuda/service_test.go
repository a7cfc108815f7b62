//go:build cuda && linux

package cuda

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/samples"
	"github.com/lowrank/lowrank/scripts/processtest"
)

// service is lowrank serve on the stand-in, with its runners.
type service struct {
	*testing.T
	url, token string
	log        *processtest.Output
	stop       func()
}

// serve starts the service on the data in dir, whose token is that of the service
// before it, or "".
func serve(t *testing.T, dir, token string, settings []string, flags ...string) *service {
	t.Helper()
	s := &service{T: t, token: token, log: &processtest.Output{}}
	cmd := lowrank(t, settings, append([]string{"serve", "--addr", "127.0.0.1:0", "--data", dir, "--device", "cuda"}, flags...)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(s.log)
		}
	})
	t.Cleanup(s.stop)
	s.url = s.wait(`serves (http://[^,]+),`)
	if token == "" {
		s.token = s.wait(`REPLICATE_API_TOKEN=(\S+)`)
	}
	return s
}

// wait waits for what the log will say.
func (s *service) wait(pattern string) string {
	s.Helper()
	re := regexp.MustCompile(pattern)
	for range 1200 {
		if m := re.FindStringSubmatch(s.log.String()); m != nil {
			return m[len(m)-1]
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Fatalf("the log never said %q", pattern)
	return ""
}

// job is what is read of a prediction.
type job struct {
	ID, Status, Error, Logs string
	Output                  any
}

func (s *service) call(method, path string, body any) (j job) {
	s.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	s.ask(method, path, text, &j)
	return j
}

// ask makes a request, and reads its answer into out, if that is wanted.
func (s *service) ask(method, path string, body []byte, out any) {
	s.Helper()
	if !strings.HasPrefix(path, "http") {
		path = s.url + path
	}
	r, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Authorization", "Token "+s.token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		s.Fatalf("%s %s: %s", method, path, answer.Status)
	}
	if out == nil {
		return
	}
	if err := json.NewDecoder(answer.Body).Decode(out); err != nil {
		s.Fatal(err)
	}
}

// draw has a picture drawn.
func (s *service) draw(size int) job {
	s.Helper()
	return s.call("POST", "/v1/predictions", map[string]any{"version": events.AnnouncedLoraID,
		"input": map[string]any{"prompt": "a penguin", "width": size, "height": size, "num_inference_steps": 2, "seed": 1}})
}

// train has the sample pictures learnt in two steps of so many.
func (s *service) train(batch int) job {
	s.Helper()
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		s.Fatal(err)
	}
	var up events.Upload
	s.ask("POST", "/v1/upload/neon-sign.zip", nil, &up)
	s.ask("PUT", up.UploadURL, zip, nil)
	return s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-advanced-training", "input": map[string]any{"instance_data": up.ServingURL,
		"resolution": 64, "train_batch_size": batch, "gradient_accumulation_steps": 1, "max_train_steps_ti": 1, "max_train_steps_tuning": 1}})
}

// ended waits for a job's end.
func (s *service) ended(j job) job {
	s.Helper()
	for range 2400 {
		if j.Status == "succeeded" || j.Status == "failed" || j.Status == "canceled" {
			return j
		}
		time.Sleep(50 * time.Millisecond)
		j = s.get(j)
	}
	s.Fatalf("a job is still %s", j.Status)
	return j
}

func (s *service) get(j job) job { s.Helper(); return s.call("GET", "/v1/predictions/"+j.ID, nil) }
