package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// kernels runs the device's own tests, whose program lies beside this one: each
// kernel over many shapes beside the processor, half precision within bounds,
// a tiny training run in f32 and bf16, replays.
func (r *report) kernels(ctx context.Context, w io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), "cuda.test")
	if _, err := os.Stat(program); err != nil {
		r.Notes = append(r.Notes, "The device's own tests were not run: cuda.test does not lie beside gpucheck (scripts/gpucheck/build.sh puts it there).")
		return nil
	}
	cmd := exec.CommandContext(ctx, program, "-test.v", "-test.timeout=20m")
	var out, errs bytes.Buffer // a crash is told on the latter
	cmd.Stdout, cmd.Stderr = &out, &errs
	failed := cmd.Run()
	counts := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^( *)--- (PASS|FAIL|SKIP): (\S+)`).FindAllStringSubmatch(out.String(), -1) {
		counts[m[2]]++
		if m[2] == "FAIL" {
			r.Failures = append(r.Failures, "test "+m[3])
		}
	}
	r.Kernels = fmt.Sprintf("%d tests passed, %d failed, %d were left out", counts["PASS"], counts["FAIL"], counts["SKIP"])
	fmt.Fprintln(w, r.Kernels)
	if failed != nil {
		return fmt.Errorf("the device's tests: %w\n%s\n%s", failed, end(out.Bytes(), 4000), end(errs.Bytes(), 2000))
	}
	return nil
}

// end is the last n bytes of a text.
func end(text []byte, n int) []byte { return text[max(0, len(text)-n):] }
