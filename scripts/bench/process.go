package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a program that ran once, of either side.
type process struct {
	seconds float64 // from its start to the line that it wrote
	peak    float64 // bytes resident at most (VmHWM), mapped pages counted
	line    string
}

// once runs a program until it ends and takes what it wrote first.
func (b *bench) once(name string, args ...string) (process, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(peerEnv(b.threads), fmt.Sprint("GOMAXPROCS=", b.threads))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return process{}, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return process{}, err
	}
	ended, measured := make(chan struct{}), make(chan float64)
	go func() { measured <- peakResident(cmd.Process.Pid, ended) }()
	p := process{}
	lines := bufio.NewReaderSize(out, 1<<20)
	line, readErr := lines.ReadString('\n')
	p.seconds, p.line = time.Since(begin).Seconds(), strings.TrimSpace(line)
	_, _ = io.Copy(io.Discard, lines) // until it ends
	close(ended)
	p.peak = <-measured
	if err := cmd.Wait(); err != nil {
		text := errs.String()
		return process{}, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, text[max(0, len(text)-2000):])
	}
	if readErr != nil {
		return process{}, fmt.Errorf("%s wrote nothing: %w", name, readErr)
	}
	if p.peak == 0 {
		return process{}, fmt.Errorf("the memory of %s could not be read from /proc", name)
	}
	return p, nil
}

// peakResident reads a process's VmHWM every few milliseconds until ended: it
// only grows, and the kernel forgets it with the process.
func peakResident(pid int, ended <-chan struct{}) (peak float64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(status)) {
			if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				n, _ := strconv.ParseFloat(strings.Fields(kb)[0], 64)
				peak = max(peak, n*1024)
			}
		}
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

// program builds lowrank into a folder.
func program(dir string) (string, error) {
	path := filepath.Join(dir, "lowrank")
	if out, err := exec.Command("go", "build", "-o", path, "./scripts/lowrank").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./scripts/lowrank: %w: %s", err, out)
	}
	return path, nil
}

// firstStep is the first argument with which bench starts itself for a tuning
// step; the second is a firstStepArgs.
const firstStep = "first-step"

type firstStepArgs struct {
	Folder               string
	Height, Width, Batch int
	Rank, Threads        int
}

func runFirstStep(args []string) error {
	var a firstStepArgs
	if err := json.Unmarshal([]byte(args[0]), &a); err != nil {
		return err
	}
	s, err := openStep(a.Folder, a.Height, a.Width, a.Batch, a.Rank, 0, a.Threads)
	if err != nil {
		return err
	}
	defer s.close()
	answer, err := s.run(1)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
