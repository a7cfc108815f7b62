//go:build unix

package servicetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/samples"
	"github.com/lowrank/lowrank/scripts/processtest"
)

// needService skips a test of processes that takes more than moments, unless
// LOWRANK_REQUIRE asks for it.
func needService(t *testing.T) {
	t.Helper()
	words := strings.FieldsFunc(os.Getenv("LOWRANK_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' })
	if !slices.Contains(words, "service") {
		t.Skip("trains and draws in processes that are killed, for minutes: LOWRANK_REQUIRE=service runs it")
	}
}

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binary is the program, built once.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "lowrank-servicetest-*"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "lowrank")
		cmd := exec.Command("go", "build", "-o", built.path, "../lowrank")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// command is the program with arguments, in an environment without the user's
// own folders.
func command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(binary(t), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME=")
	return cmd
}

// run runs the program to its end.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return finish(t, command(t, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		t.Fatal(e)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// sentence checks that a command said one thing and no more, and returns it.
func sentence(t *testing.T, stderr string) string {
	t.Helper()
	text := strings.TrimSpace(stderr)
	if lines := strings.Count(text, "\n") + 1; text == "" || lines != 1 || !strings.HasPrefix(text, "lowrank: ") || strings.Contains(text, "goroutine ") {
		t.Errorf("want one sentence, got %q", stderr)
	}
	return text
}

// service is a running `lowrank serve`.
type service struct {
	*testing.T
	dir, url, token string
	pictures        string // where they are served, once uploaded
	cmd             *exec.Cmd
	out, log        *processtest.Output
	client          *http.Client
	ended           chan struct{}
}

var (
	servesLine = regexp.MustCompile(`^lowrank serves (https?://\S+), data in `)
	tokenLine  = regexp.MustCompile(`^\s+export REPLICATE_API_TOKEN=(\S+)$`)
)

// serve starts the service on dir and waits until it says where it is. token is ""
// on the first start: then the one that it prints is used.
func serve(t *testing.T, dir, token string, args ...string) *service {
	t.Helper()
	s, err := tryServe(t, command(t, append([]string{"serve", "--data", dir, "--addr", "127.0.0.1:0"}, args...)...))
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	if token != "" {
		s.token = token
		return s
	}
	for s.token == "" { // follows at once
		for line := range strings.Lines(s.out.String()) {
			if m := tokenLine.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				s.token = m[1]
			}
		}
		s.alive()
		time.Sleep(10 * time.Millisecond)
	}
	return s
}

func tryServe(t *testing.T, cmd *exec.Cmd) (*service, error) {
	t.Helper()
	s := &service{T: t, cmd: cmd, out: &processtest.Output{}, log: &processtest.Output{}, client: http.DefaultClient, ended: make(chan struct{})}
	cmd.Stderr = s.log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			fmt.Fprintln(s.out, lines.Text())
			if m := servesLine.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	go func() {
		<-read
		_ = cmd.Wait() // ProcessState says how
		close(s.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-s.ended:
		default:
			_ = cmd.Process.Kill()
			<-s.ended
		}
		if t.Failed() {
			t.Logf("the service's log:\n%s", s.log)
		}
	})
	select {
	case s.url = <-found:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("the service ended before it was ready: %s", s.log)
	}
}

// in is the service for a subtest.
func (s *service) in(t *testing.T) *service {
	c := *s
	c.T = t
	return &c
}

func pause() { time.Sleep(50 * time.Millisecond) }

// alive fails the test when the service has ended by itself.
func (s *service) alive() {
	s.Helper()
	select {
	case <-s.ended:
		s.Fatalf("the service has ended: %s", s.cmd.ProcessState)
	default:
	}
}

// stop is SIGTERM; it checks that the service ends cleanly and leaves no process.
func (s *service) stop() {
	s.Helper()
	children := s.runners()
	begun := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	<-s.ended
	if !s.cmd.ProcessState.Success() {
		s.Errorf("the service ended with %s", s.cmd.ProcessState)
	}
	s.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
	s.gone(children, 0)
}

// kill is kill -9 of the service alone.
func (s *service) kill() {
	s.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.Fatal(err)
	}
	<-s.ended
}

// call sends a request and reads the answer into v.
func (s *service) call(method, path string, body, v any) int {
	s.Helper()
	if strings.HasPrefix(path, "/") {
		path = s.url + path
	}
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		r = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			s.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(s.Context(), method, path, r)
	if err != nil {
		s.Fatal(err)
	}
	if method != http.MethodPut {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	switch into := v.(type) {
	case nil:
	case *[]byte:
		*into = text
	default:
		if err := json.Unmarshal(text, v); err != nil || resp.StatusCode >= 400 {
			s.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
		}
	}
	return resp.StatusCode
}

// draw asks for a picture.
func (s *service) draw(input map[string]any) events.Prediction {
	s.Helper()
	var p events.Prediction
	s.call("POST", "/v1/models/replicate/lora/predictions", map[string]any{"input": input}, &p)
	return p
}

// train has the neon signs learnt in so many steps of each phase, by an upload
// that trains: nothing is called after its PUT.
func (s *service) train(inversion, tuning int) events.Prediction {
	s.Helper()
	var up events.Upload
	s.call("POST", "/v1/upload/neon-sign.zip", map[string]any{"train": map[string]any{
		"model": "replicate/lora-advanced-training",
		"input": map[string]any{"seed": 7, "max_train_steps_ti": inversion, "max_train_steps_tuning": tuning},
	}}, &up)
	if up.Prediction == nil || up.Prediction.Status != events.Starting {
		s.Fatalf("the upload answered %+v", up)
	}
	if code := s.call("PUT", up.UploadURL, neonSigns(s.T), nil); code != http.StatusOK {
		s.Fatalf("PUT: %d", code)
	}
	return *up.Prediction
}

// neonSigns are the sample pictures, zipped.
func neonSigns(t *testing.T) []byte {
	t.Helper()
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		t.Fatal(err)
	}
	return zip
}

func (s *service) get(id events.JobID) (p events.Prediction) {
	s.Helper()
	s.call("GET", "/v1/predictions/"+string(id), nil, &p)
	return p
}

// until polls the job until ok, and fails when it ends before.
func (s *service) until(id events.JobID, what string, ok func(events.Prediction) bool) events.Prediction {
	s.Helper()
	for {
		s.alive()
		p := s.get(id)
		if ok(p) {
			return p
		}
		if p.Status.Terminal() {
			s.Fatalf("the job was to be %s, but has ended: %s, error %v\n%s", what, p.Status, deref(p.Error), p.Logs)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// succeeded waits for the job's success.
func (s *service) succeeded(id events.JobID) events.Prediction {
	s.Helper()
	return s.until(id, "successful", func(p events.Prediction) bool { return p.Status == events.Succeeded })
}

var bar = regexp.MustCompile(`(?m)^\s*\d+%\|.*\|\s*(\d+)/(\d+)`)

// atStep waits until a training has made n of total steps of a phase.
func (s *service) atStep(id events.JobID, n, total int) events.Prediction {
	s.Helper()
	return s.until(id, fmt.Sprintf("at step %d/%d", n, total), func(p events.Prediction) bool {
		for _, m := range bar.FindAllStringSubmatch(p.Logs, -1) {
			var done, of int
			fmt.Sscan(m[1], &done)
			fmt.Sscan(m[2], &of)
			if of == total && done >= n {
				return true
			}
		}
		return false
	})
}

// file downloads the job's only output.
func (s *service) file(p events.Prediction) []byte {
	s.Helper()
	url, ok := p.Output.(string)
	if !ok {
		s.Fatalf("output %v", p.Output)
	}
	var b []byte
	if code := s.call("GET", url, nil, &b); code != http.StatusOK {
		s.Fatalf("GET %s: %d", url, code)
	}
	return b
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
