//go:build cuda && linux

// Package cuda tests the programs as processes on the stand-in for the driver.
// scripts/cuda/check.sh runs it.
package cuda

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// programs builds the plain program and, beside it, the CUDA build.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lowrank-cuda-*")
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"-tags", "cuda", "-o", filepath.Join(dir, "gpurunner-cuda")}, {"-o", filepath.Join(dir, "lowrank")}} {
		cmd := exec.Command("go", append(append([]string{"build"}, args...), "../lowrank")...)
		if args[0] == "-o" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%w\n%s", err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := programs(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// lowrank is the plain program with settings of the stand-in.
func lowrank(t *testing.T, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "lowrank"), args...)
	cmd.Env = append(append(os.Environ(), "HOME="+t.TempDir()), settings...)
	return cmd
}

// The plain program becomes the CUDA build, which finds the GPU and proves it;
// what keeps it from that is said in one sentence.
func TestHandover(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		args     []string
		says     []string
		fails    bool
	}{
		{"OK", nil, nil, []string{"Fake GPU", "tensor cores, bf16", "self-test"}, false},
		{"F32", nil, []string{"--precision", "f32"}, []string{"float32 multiply-adds", "off by 0,"}, false},
		{"Turing", []string{"FAKE_CUDA_SM=75"}, []string{"--precision", "f16"}, []string{"capability 7.5", "tensor cores, f16"}, false},
		{"CPU", nil, []string{"--device", "cpu"}, []string{"device         cpu"}, false},
		{"NoDevice", []string{"FAKE_CUDA_NO_DEVICE=1"}, nil, []string{"using the processor: gpurunner-cuda cannot use the GPU", "device         cpu"}, false},
		{"ErrNoDevice", []string{"FAKE_CUDA_NO_DEVICE=1"}, []string{"--device", "cuda"}, []string{"gpurunner-cuda cannot use the GPU"}, true},
		{"ErrDriver", []string{"FAKE_CUDA_DRIVER=11080"}, []string{"--device", "cuda"}, []string{"CUDA 11.8", "driver 530 or later"}, true},
		{"ErrBF16", []string{"FAKE_CUDA_SM=75"}, []string{"--device", "cuda", "--precision", "bf16"}, []string{"bf16 needs 8.0; use f32 for training and f16 for drawing"}, true},
		{"ErrMemory", []string{"FAKE_CUDA_MEMORY=100000"}, []string{"--device", "cuda"}, []string{"out of memory"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := lowrank(t, tt.settings, append([]string{"doctor"}, tt.args...)...).CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("ended with %v", err)
			}
			for _, want := range tt.says {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if bytes.Contains(out, []byte("goroutine ")) {
				t.Errorf("a panic:\n%s", out)
			}
		})
	}
}

// service is lowrank serve on the stand-in.
type service struct {
	*testing.T
	url, token string
	log        *output
}

func serve(t *testing.T, settings ...string) *service {
	s := &service{T: t, log: &output{}}
	cmd := lowrank(t, settings, "serve", "--addr", "127.0.0.1:0", "--data", t.TempDir(), "--device", "cuda", "--precision", "f32")
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(s.log)
		}
	})
	s.url = s.wait(`serves (http://[^,]+),`)
	s.token = s.wait(`REPLICATE_API_TOKEN=(\S+)`)
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
	Output                  []string
}

func (s *service) call(method, path string, body any) (j job) {
	s.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.Fatal(err)
	}
	r, err := http.NewRequest(method, s.url+path, bytes.NewReader(text))
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
	if err := json.NewDecoder(answer.Body).Decode(&j); err != nil {
		s.Fatal(err)
	}
	return j
}

// draw draws a picture and waits for its end.
func (s *service) draw(size int) job {
	s.Helper()
	j := s.call("POST", "/v1/predictions", map[string]any{"version": events.AnnouncedLoraID,
		"input": map[string]any{"prompt": "a penguin", "width": size, "height": size, "num_inference_steps": 2, "seed": 1}})
	for range 1200 {
		if j.Status == "succeeded" || j.Status == "failed" || j.Status == "canceled" {
			return j
		}
		time.Sleep(50 * time.Millisecond)
		j = s.call("GET", "/v1/predictions/"+j.ID, nil)
	}
	s.Fatalf("a job is still %s", j.Status)
	return j
}

// A job that does not fit says what to lower, and the same runner draws the next.
func TestErrOutOfMemory(t *testing.T) {
	s := serve(t, "FAKE_CUDA_MEMORY=33554432")
	large := s.draw(128)
	if large.Status != "failed" || !strings.Contains(large.Error, "a picture of 128×128 does not fit into the device's memory: lower width and height") {
		t.Errorf("%s, %q", large.Status, large.Error)
	}
	small := s.draw(64)
	if small.Status != "succeeded" || !strings.Contains(small.Logs, "Peak memory: 0.02 GiB on cuda sm_86 f32") {
		t.Errorf("%s, %q, log %q", small.Status, small.Error, small.Logs)
	}
	if strings.Contains(s.log.String(), "a runner ended") {
		t.Error("the runner ended")
	}
}

// A GPU that falls off the bus ends its runner, with a line that says so, and the
// job comes again in the next.
func TestErrLost(t *testing.T) {
	s := serve(t, "FAKE_CUDA_FAIL=200:"+filepath.Join(t.TempDir(), "failed"))
	begun := time.Now()
	if j := s.draw(64); j.Status != "succeeded" || len(j.Output) != 1 {
		t.Errorf("%s, %q", j.Status, j.Error)
	}
	t.Logf("drawn after %v", time.Since(begun))
	for _, want := range []string{"the device failed; its job goes back to the queue and this runner ends", "the GPU no longer answers", "exit status 1", "a runner ended and is started again"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
