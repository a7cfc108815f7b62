//go:build unix

package servicetest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/scripts/processtest"
)

// interrupt runs the program in dir until it has said what, presses Ctrl-C, as a
// terminal does it: to the whole group. It returns what was said, and checks that
// the program stopped for that, and left no process.
func interrupt(t *testing.T, dir, what string, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := command(t, args...)
	var out, said processtest.Output
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &said
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState says how
		close(ended)
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
		default:
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	for !strings.Contains(said.String(), what) && !strings.Contains(out.String(), what) {
		select {
		case <-ended:
			t.Fatalf("ended before it said %q: %s\n%s", what, cmd.ProcessState, &said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	family := descendants(t, cmd.Process.Pid)
	begun := time.Now()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ended
	t.Logf("stopped in %v", time.Since(begun).Round(time.Millisecond))
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("ended with %d, want 130: %s", code, &said)
	}
	if !strings.HasSuffix(said.String(), "\nlowrank: stopped\n") || strings.Contains(said.String(), "goroutine ") {
		t.Errorf("its last words: %q", said.String())
	}
	for pid, line := range family {
		if running(pid, line) {
			t.Errorf("left running: %d %s", pid, line)
		}
	}
	return out.String(), said.String()
}

// descendants are a process's children and theirs.
func descendants(t *testing.T, pid int) map[int]string {
	t.Helper()
	all := map[int]string{}
	for child, line := range children(t, pid) {
		all[child] = line
		for p, l := range descendants(t, child) {
			all[p] = l
		}
	}
	return all
}

// entries are the names in a folder, also hidden ones.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// zipFile writes the sample pictures.
func zipFile(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "neon-sign.zip")
	if err := os.WriteFile(path, neonSigns(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Ctrl-C in the middle: one sentence, nothing left running, nothing half written.
func TestInterrupt(t *testing.T) {
	needService(t)
	t.Run("Generate", func(t *testing.T) {
		dir := t.TempDir()
		out, _ := interrupt(t, dir, "drawing", "generate", "--steps", "500", "--num", "20", "--seed", "1", "--out", "cat.png", "a cat")
		// Pictures that were whole may stay; with the first not done there is none.
		for _, name := range entries(t, dir) {
			if !strings.HasPrefix(name, "cat-") || !strings.HasSuffix(name, ".png") {
				t.Errorf("left %s", name)
			}
		}
		if out != "" {
			t.Errorf("printed %q", out)
		}
	})
	t.Run("Train", func(t *testing.T) {
		dir := t.TempDir()
		steps := []string{"--task", "style", "--max-train-steps-ti", "10", "--max-train-steps-tuning", "25", "--seed", "7", "--loss-curve=false"}
		zip := zipFile(t, t.TempDir())
		_, said := interrupt(t, dir, "tuning ", slices.Concat([]string{"train", "--out", "neon.safetensors"}, steps, []string{zip})...)
		if !strings.Contains(said, "neon.safetensors.checkpoint") || !strings.Contains(said, "--resume") {
			t.Errorf("did not say how to go on: %q", said)
		}
		if got := entries(t, dir); !slices.Equal(got, []string{"neon.safetensors.checkpoint"}) {
			t.Errorf("left %q", got)
		}
		train := func(out string, more ...string) []byte {
			cmd := command(t, slices.Concat([]string{"train", "--out", out}, steps, more, []string{zip})...)
			cmd.Dir = dir
			if _, errs, code := finish(t, cmd); code != 0 {
				t.Fatalf("train: %d %s", code, errs)
			}
			b, err := os.ReadFile(filepath.Join(dir, out))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if resumed, whole := train("neon.safetensors", "--resume"), train("whole.safetensors"); string(resumed) != string(whole) {
			t.Error("the resumed training made another file than the whole one")
		}
		if got := entries(t, dir); !slices.Equal(got, []string{"neon.safetensors", "whole.safetensors"}) {
			t.Errorf("left %q", got)
		}
	})
	t.Run("Demo", func(t *testing.T) {
		dir := t.TempDir()
		interrupt(t, dir, "neon signs ", "demo")
		if left := entries(t, dir); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	})
	t.Run("DemoKeep", func(t *testing.T) {
		dir := t.TempDir()
		interrupt(t, dir, "neon signs ", "demo", "--keep", "kept")
		// What is kept can be gone on with.
		s := serve(t, filepath.Join(dir, "kept", "data"), "unknown")
		s.stop()
		_, errs, code := run(t, "demo", "--keep", filepath.Join(dir, "kept"))
		if text := sentence(t, errs); code != 1 || !strings.Contains(text, "not empty") {
			t.Errorf("%d %q", code, text)
		}
	})
}
