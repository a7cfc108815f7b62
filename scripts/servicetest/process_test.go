//go:build unix

package servicetest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// children lists the processes whose parent is pid, with their command lines, as
// Linux tells them.
func children(t *testing.T, pid int) map[int]string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Skip("children are found in /proc, which this system lacks")
	}
	found := map[int]string{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …, and the name may hold anything
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(pid) {
			continue
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		found[child] = strings.ReplaceAll(string(line), "\x00", " ")
	}
	return found
}

// runners are the service's runners by process id.
func (s *service) runners() map[int]string {
	s.Helper()
	return children(s.T, s.cmd.Process.Pid)
}

// runner waits for the runner of a queue.
func (s *service) runner(queue string) int {
	s.Helper()
	for {
		s.alive()
		for pid, line := range s.runners() {
			if strings.Contains(line, " runner ") && strings.Contains(line, "--queue "+queue) {
				return pid
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// running reports whether pid still is the process with that command line, and no
// zombie.
func running(pid int, line string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && len(text) > 0 && strings.ReplaceAll(string(text), "\x00", " ") == line
}

// gone waits until none of the processes runs any more; patience 0 is not at all.
func (s *service) gone(pids map[int]string, patience time.Duration) {
	s.Helper()
	deadline := time.Now().Add(patience)
	for pid, line := range pids {
		for running(pid, line) {
			if time.Now().After(deadline) {
				s.Errorf("left running: %d %s", pid, line)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// kill9 kills a process that is no child of the test.
func kill9(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
