package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pollers   = 200
	pollFor   = 4 * time.Second
	pace      = 500 * time.Millisecond // of clients that wait: see docs/contract.md
	starts    = 40
	cogServer = "cog's HTTP server"
)

// benchService asks for the state of a running job from many clients at once, and
// measures from a request to the job's start, beside cog's own server with the
// same model. cog keeps its one job in memory and knows no owners; ours survives
// kill -9 and checks a token at every poll.
func benchService(b *bench) ([]row, error) {
	ours, err := startOurs(b.threads)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := startCog(b.python, b.threads)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()

	var rate, worst, pacedWorst, started [2][]float64
	for range b.runs {
		for side, s := range []*server{ours, theirs} {
			polls, err := s.begin(3 * pollFor)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			fast, err := s.poll(polls, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			rate[side] = append(rate[side], float64(len(fast))/pollFor.Seconds())
			worst[side] = append(worst[side], percentile(fast, 0.99))
			paced, err := s.poll(polls, pace)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			pacedWorst[side] = append(pacedWorst[side], percentile(paced, 0.99))
			if err := s.finish(); err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			for range starts {
				d, err := s.start()
				if err != nil {
					return nil, fmt.Errorf("%s: %w", s.name, err)
				}
				started[side] = append(started[side], d)
			}
		}
	}
	more := row{Name: fmt.Sprintf("status polls a second, %d pollers without pause, while a job runs", pollers), Ours: median(rate[0]), Peer: median(rate[1]), Unit: "1/s", With: cogServer}
	more.Ratio = more.Ours / more.Peer
	return []row{
		more,
		faster(fmt.Sprintf("p99 of a status poll, %d pollers without pause", pollers), cogServer, worst[0], worst[1]),
		faster(fmt.Sprintf("p99 of a status poll, %d pollers twice a second", pollers), cogServer, pacedWorst[0], pacedWorst[1]),
		faster("from POST to the runner's start", cogServer, started[0], started[1]),
	}, nil
}

func percentile(x []float64, p float64) float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	return s[min(int(p*float64(len(s))), len(s)-1)]
}

// server is one side of the comparison.
type server struct {
	name   string
	url    string
	token  string // "" for cog
	cmd    *exec.Cmd
	clean  func()
	client *http.Client
	job    string // what begin began
	jobs   int
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: pollers, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}, Timeout: time.Minute}
}

func startOurs(threads int) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "lowrank-bench-*")
	if err != nil {
		return nil, err
	}
	s := &server{name: "lowrank", client: newClient(), cmd: exec.Command(self, noopService, dir), clean: func() { os.RemoveAll(dir) }}
	s.cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", threads))
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := fmt.Fscan(out, &s.url, &s.token); err != nil {
		s.stop()
		return nil, fmt.Errorf("the service did not start: %w", err)
	}
	return s, nil
}

// startCog runs cog's server as its containers do, from the given python.
func startCog(python string, threads int) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	path, err := exec.LookPath(python)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	s := &server{name: "cog", url: "http://" + addr, client: newClient(), clean: func() {},
		cmd: exec.Command(path, "-m", "cog.server.http", "--host", "127.0.0.1")}
	s.cmd.Dir = filepath.Join("scripts", "bench", "peers")
	// It starts "python" for its worker: that must be the same one.
	s.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(path)+string(os.PathListSeparator)+os.Getenv("PATH"), "PORT="+addr[strings.LastIndex(addr, ":")+1:],
		"COG_PREDICT_TYPE_STUB=cog_noop.py:Noop", "COG_LOG_LEVEL=error", "PYTHONDONTWRITEBYTECODE=1", fmt.Sprint("TOKIO_WORKER_THREADS=", threads))
	var log bytes.Buffer
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for range 300 {
		var health struct{ Status string }
		if err := s.call("GET", "/health-check", nil, &health); err == nil && health.Status == "READY" {
			return s, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return nil, fmt.Errorf("cog's server did not become ready; install peers/requirements.txt and name its python with --python:\n%s", &log)
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // it was told to go
	s.clean()
}

// call sends a request; v may be nil.
func (s *server) call(method, path string, body, v any) error {
	req, err := s.request(method, path, body)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(text, v)
}

func (s *server) request(method, path string, body any) (*http.Request, error) {
	var r io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.url+path, r)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	} else if method == http.MethodPut {
		req.Header.Set("Prefer", "respond-async")
	}
	return req, nil
}

// state is what both sides tell of a job.
type state struct {
	ID     string
	Status string
	Output any
	Logs   string
}

// begin starts a job that runs for d and returns the request that asks for its
// state: of cog, the repeated PUT that its documentation calls idempotent.
func (s *server) begin(d time.Duration) (poll func() (*http.Request, error), err error) {
	s.jobs++
	if s.token != "" {
		var p state
		if err := s.call("POST", "/v1/predictions", drawNothing(d.Seconds()), &p); err != nil {
			return nil, err
		}
		s.job = p.ID
		poll = func() (*http.Request, error) { return s.request("GET", "/v1/predictions/"+p.ID, nil) }
	} else {
		s.job = fmt.Sprint("job", s.jobs)
		body := map[string]any{"id": s.job, "input": map[string]any{"text": "a cat", "seconds": d.Seconds()}}
		poll = func() (*http.Request, error) { return s.request("PUT", "/predictions/"+s.job, body) }
	}
	for {
		p, err := s.ask(poll)
		if err != nil {
			return nil, err
		}
		switch {
		case p.ID == s.job && p.Status == "processing":
			return poll, nil
		case p.Status != "starting":
			return nil, fmt.Errorf("the job is %+v", p)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func drawNothing(seconds float64) map[string]any {
	return map[string]any{"version": "replicate/lora", "input": map[string]any{"prompt": fmt.Sprintf("a cat %g", seconds)}}
}

func (s *server) ask(poll func() (*http.Request, error)) (p state, err error) {
	req, err := poll()
	if err != nil {
		return p, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 400 {
		err = errors.New(resp.Status)
	}
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

// poll asks from all pollers, each as often as pause allows, and returns the
// seconds that each answer took. An answer that is not the running job's is an
// error.
func (s *server) poll(request func() (*http.Request, error), pause time.Duration) ([]float64, error) {
	var mu sync.Mutex
	var all []float64
	var errs []error
	var group sync.WaitGroup
	end := time.Now().Add(pollFor)
	for i := range pollers {
		group.Go(func() {
			var took []float64
			var err error
			time.Sleep(pause * time.Duration(i) / pollers)
			for next := time.Now(); err == nil && next.Before(end); {
				begun := time.Now()
				var p state
				if p, err = s.ask(request); err == nil && (p.ID != s.job || p.Status != "processing") {
					err = fmt.Errorf("the running job is told to be %+v", p)
				}
				took = append(took, time.Since(begun).Seconds())
				if next = time.Now(); pause > 0 {
					next = begun.Add(pause)
					time.Sleep(time.Until(next))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	group.Wait()
	if len(errs) > 0 {
		return nil, fmt.Errorf("%d pollers failed, the first with: %w", len(errs), errs[0])
	}
	return all, nil
}

// finish ends the running job.
func (s *server) finish() error {
	if s.token == "" {
		return s.call("POST", "/predictions/"+s.job+"/cancel", nil, nil)
	}
	if err := s.call("POST", "/v1/predictions/"+s.job+"/cancel", nil, nil); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // for the runner to see it
	return nil
}

// start runs a job that is over at once, and returns the seconds from the request
// to its beginning, by the clock that all processes of a machine share.
func (s *server) start() (float64, error) {
	asked := float64(time.Now().UnixMicro()) / 1e6
	var p state
	var begun float64
	if s.token == "" {
		var err error
		for range 100 { // the canceled one may be at its end still
			if err = s.call("POST", "/predictions", map[string]any{"input": map[string]any{"text": "a cat"}}, &p); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
			asked = float64(time.Now().UnixMicro()) / 1e6
		}
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscanf(fmt.Sprint(p.Output), "a cat %f", &begun); err != nil {
			return 0, fmt.Errorf("the output is %v", p.Output)
		}
		return begun - asked, nil
	}
	if err := s.call("POST", "/v1/predictions", drawNothing(0), &p); err != nil {
		return 0, err
	}
	for p.Status == "starting" || p.Status == "processing" {
		time.Sleep(5 * time.Millisecond)
		if err := s.call("GET", "/v1/predictions/"+p.ID, nil, &p); err != nil {
			return 0, err
		}
	}
	if _, err := fmt.Sscanf(p.Logs, "begun %f", &begun); err != nil || p.Status != "succeeded" {
		return 0, fmt.Errorf("the job is %+v", p)
	}
	return begun - asked, nil
}
