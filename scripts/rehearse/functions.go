package main

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lowrank/lowrank/infra/aws/emulator"
)

// maxZip is the limit of a function's zip, in bytes.
const maxZip = 15 << 20

// maxStart is the limit of the time from a function's start until it asks for its
// first event. The best of several starts counts, for others only add to it. On a
// machine that is so busy that no start gets more than a part of a processor, up to
// busy times the processor's own time passes; a start that waits for anything does not.
const (
	maxStart = 100 * time.Millisecond
	busy     = 15
)

// A function is started at least minStarts times to measure it, and until one start
// was quick enough or maxStarts were not.
const minStarts, maxStarts = 5, 40

// functions measures every function: the size of its zip and how long it takes to start.
func (r *rehearsal) functions(ctx context.Context) error {
	binaries, err := filepath.Glob(filepath.Join(r.stack.root, "bin", "functions", "*", "bootstrap"))
	if err != nil || len(binaries) == 0 {
		return fmt.Errorf("no functions in bin/functions; scripts/rehearse/build makes them: %w", err)
	}
	largest, slowest := int64(0), time.Duration(0)
	for _, path := range binaries {
		size, err := zipped(path)
		if err != nil {
			return err
		}
		name := filepath.Base(filepath.Dir(path))
		if size > maxZip {
			return fmt.Errorf("the zip of function %s has %d bytes, the limit is %d", name, size, maxZip)
		}
		best, work := time.Hour, time.Hour
		for n := 0; n < minStarts || best > maxStart && n < maxStarts; n++ {
			d, cpu, err := start(ctx, path)
			if err != nil {
				return fmt.Errorf("function %s: %w", name, err)
			}
			best, work = min(best, d), min(work, cpu)
		}
		if work > maxStart || best > max(maxStart, busy*work) {
			return fmt.Errorf("function %s starts in %v at best, %v of the processor, the limit is %v", name, best, work, maxStart)
		}
		largest, slowest = max(largest, size), max(slowest, best)
	}
	r.say("%d functions: the largest zip has %.1f MB, the slowest starts in %d ms", len(binaries), float64(largest)/1e6, slowest.Milliseconds())
	return nil
}

// zipped is the size of a file in a zip, as sam packs it.
func zipped(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var n counter
	z := zip.NewWriter(&n)
	w, err := z.Create("bootstrap")
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(w, f); err != nil {
		return 0, err
	}
	return int64(n), z.Close()
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// start runs a function under a runtime that has no event for it, and measures how
// long it takes to ask for one (GET /2018-06-01/runtime/invocation/next), and how
// much of that it has a processor.
func start(ctx context.Context, path string) (took, cpu time.Duration, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	asked := make(chan time.Time, 1)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case asked <- time.Now():
		default:
		}
		<-req.Context().Done()
	})}
	go func() { _ = server.Serve(l) }() // ends with Close
	defer server.Close()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_REGION=" + emulator.Region, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x",
		"LOWRANK_BUCKET=x", "LOWRANK_TABLE=x", "AWS_EC2_METADATA_DISABLED=true",
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case at := <-asked:
		_ = cmd.Process.Kill()
		<-exited
		return at.Sub(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
	case err := <-exited:
		return 0, 0, fmt.Errorf("it ended before it asked for an event: %w", err)
	}
}
