package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// service is a running `lowrank serve`. It lives as long as its standard input is
// open: however the demo ends, it does not stay behind.
type service struct {
	cmd *exec.Cmd
	log *os.File
	client
}

var (
	servesLine = regexp.MustCompile(`^lowrank serves (http\S+),`)
	tokenLine  = regexp.MustCompile(`^\s+export REPLICATE_API_TOKEN=(\S+)`)
)

// start runs serve on a fresh folder and reads where it is and its first token
// from what it prints.
func start(ctx context.Context, binary, dir string) (*service, error) {
	log, err := os.Create(filepath.Join(dir, "serve.log"))
	if err != nil {
		return nil, err
	}
	s := &service{cmd: exec.Command(binary, "serve", "--data", filepath.Join(dir, "data"), "--addr", "127.0.0.1:0", "--attached"), log: log}
	s.cmd.Stderr = log
	detach(s.cmd)
	if _, err := s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the service: %w", err)
	}
	lines := bufio.NewScanner(out)
	for s.url == "" || s.token == "" {
		if !lines.Scan() {
			s.stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("the service ended before it was ready: %s", strings.TrimPrefix(strings.TrimSpace(string(text)), "lowrank: "))
		}
		if m := servesLine.FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
		}
		if m := tokenLine.FindStringSubmatch(lines.Text()); m != nil {
			s.token = m[1]
		}
	}
	go func() { _, _ = io.Copy(log, out) }()
	return s, ctx.Err()
}

// stop ends the service as an operator would, and kills it if it does not
// listen.
func (s *service) stop() {
	defer s.log.Close()
	interrupt(s.cmd.Process)
	done := make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(40 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
}
