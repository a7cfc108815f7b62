package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// peer is a Python program that answers one JSON line for each that it gets.
type peer struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// startPeer runs a file of peers/ with so many threads.
func startPeer(python, file string, threads int) (*peer, error) {
	script := filepath.Join("scripts", "bench", "peers", file)
	cmd := exec.Command(python, script)
	cmd.Env = peerEnv(threads)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the peer %s with %s: %w; install peers/requirements.txt and name its python with --python", file, python, err)
	}
	p := &peer{name: file, cmd: cmd, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	return p, nil
}

// ask sends a request and decodes the answer.
func (p *peer) ask(request, answer any) error {
	b, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("peer %s: %w", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("peer %s ended: %w", p.name, err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("peer %s answered %.200q: %w", p.name, line, err)
	}
	return nil
}

func (p *peer) close() error {
	p.in.Close()
	return p.cmd.Wait()
}

// peerEnv makes Python's libraries take so many threads.
func peerEnv(threads int) []string {
	n := fmt.Sprint(threads)
	return append(os.Environ(), "OMP_NUM_THREADS="+n, "OPENBLAS_NUM_THREADS="+n, "MKL_NUM_THREADS="+n, "PYTHONUNBUFFERED=1", "BENCH_THREADS="+n)
}
