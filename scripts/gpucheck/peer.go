package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The same work in PyTorch with diffusers and peft.
//
//go:embed peers/peers.py
var peerProgram string

// peers runs the peer in Python, if it is there with a GPU.
func (r *report) peers(ctx context.Context, w io.Writer, name string, s settings) error {
	if _, ok := sizes[name]; !ok || name == "embedded" {
		return nil
	}
	dir, err := os.MkdirTemp("", "gpucheck-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, configs); err != nil {
		return err
	}
	program := filepath.Join(dir, "peers.py")
	if err := os.WriteFile(program, []byte(peerProgram), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.python, program, filepath.Join(dir, "models", name), fmt.Sprint(s.edge(name)), fmt.Sprint(s.steps), fmt.Sprint(s.runs))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	failed := cmd.Run()
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var x row
		if json.Unmarshal([]byte(line), &x) != nil {
			continue
		}
		if x.Side == "" { // why there is none
			r.note(x.Note)
			return nil
		}
		x.Model = name
		if peak := peakFLOPS(r.GPU); peak > 0 && x.Step > 0 {
			x.TFLOP = r.tflop(name, x.Work)
			x.PeakShare = x.TFLOP * 1e12 / x.Step / peak
		}
		r.add(w, x)
	}
	if failed != nil {
		text := errs.String()
		r.note(fmt.Sprintf("The peer of %s ended early (%v): %s", name, failed, text[max(0, len(text)-300):]))
	}
	return nil
}

// note adds a note once.
func (r *report) note(text string) {
	for _, n := range r.Notes {
		if n == text {
			return
		}
	}
	r.Notes = append(r.Notes, text)
}

// tflop is what our side counted for the same work.
func (r *report) tflop(model, work string) float64 {
	for _, x := range r.Rows {
		if x.Model == model && x.Work == work && x.Side == "lowrank" {
			return x.TFLOP
		}
	}
	return 0
}
