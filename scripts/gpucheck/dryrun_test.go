//go:build cuda

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a GPU with too little memory the rows say so, and none is left out.
func TestDryRunOutOfMemory(t *testing.T) {
	t.Setenv("FAKE_CUDA_MEMORY", "8000000")
	var out bytes.Buffer
	s := settings{models: "embedded,sdxl", only: "ours", precision: "f16", out: t.TempDir(), runs: 1, steps: 2, warm: 1, concept: 3, size: 64}
	if err := check(context.Background(), s, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	rows := strings.Count(out.String(), " | f16 | | | | | ")
	if told := strings.Count(out.String(), "does not fit into the device's memory"); rows != 2*7 || told != rows {
		t.Errorf("%d rows, %d of them say that memory was too little; want 7, twice:\n%s", rows, told, out.String())
	}
}

// gpucheck itself, on the small base that the program carries.
func TestDryRun(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	s := settings{models: "embedded", only: "ours,peers", precision: "f32", out: dir, python: "python3", runs: 1, steps: 2, warm: 1, concept: 3, size: 32}
	if err := check(context.Background(), s, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	if len(r.Rows) != 4 {
		t.Fatalf("%d rows, want one of drawing and three of training:\n%s", len(r.Rows), out.String())
	}
	for _, x := range r.Rows {
		if x.TFLOP <= 0 || x.Memory <= 0 || !strings.Contains(x.Note, "replayed") {
			t.Errorf("%+v", x)
		}
		// A step of drawing is the difference of two runs, which a busy machine may turn
		// round.
		drawn := strings.HasPrefix(x.Work, "draw ") && strings.Contains(x.Note, "images/s with 2 steps")
		if !drawn && x.Step <= 0 {
			t.Errorf("%+v", x)
		}
	}
	table, err := os.ReadFile(filepath.Join(dir, "results.md"))
	if err != nil || strings.Contains(string(table), "NaN") || strings.Count(string(table), "| lowrank |") != 4 {
		t.Errorf("%v\n%s", err, table)
	}
}
