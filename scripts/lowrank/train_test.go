package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/samples"
)

// lowrankTrain runs the command in dir.
func lowrankTrain(t *testing.T, ctx context.Context, dir string, args ...string) (stderr string, err error) {
	t.Helper()
	cmd := root()
	var out, messages bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&messages)
	cmd.SetArgs(append([]string{"train", "--out", filepath.Join(dir, "x.safetensors")}, args...))
	err = cmd.ExecuteContext(ctx)
	return messages.String(), err
}

func sampleZip(t *testing.T) string {
	t.Helper()
	data, err := samples.Zip(samples.Lowie)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lowie.zip")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// short is a training of a few seconds.
var short = []string{"--task", "object", "--max-train-steps-ti", "3", "--max-train-steps-tuning=3", "--train-batch-size", "1", "--lora-rank", "2", "--seed", "5"}

// stopAfter ends a context when a line has been written to it.
type stopAfter struct {
	bytes.Buffer
	line   string
	cancel func()
}

func (s *stopAfter) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.line) {
		s.cancel()
	}
	return n, err
}

// TestTrain trains on the embedded base: the files are there, and a run that
// was stopped and resumed gives the same bytes.
func TestTrain(t *testing.T) {
	if testing.Short() {
		t.Skip("a few seconds of training")
	}
	zip, ctx := sampleZip(t), context.Background()
	whole := t.TempDir()
	messages, err := lowrankTrain(t, ctx, whole, append(short, "--preview-every", "3", "--caption-pattern", "a {} called {concept}", "--use-template=none", zip)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, messages)
	}
	for _, name := range []string{"x.safetensors", "x-loss.csv", "x-loss.png", "x-inversion-00003.png", "x-tuning-00003.png"} {
		if info, err := os.Stat(filepath.Join(whole, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	entries, err := os.ReadDir(whole)
	if err != nil || len(entries) != 5 {
		t.Errorf("%d files, want no checkpoint and nothing unfinished: %v (%v)", len(entries), entries, err)
	}

	want := t.TempDir()
	if _, err := lowrankTrain(t, ctx, want, append(short, zip)...); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	stopping, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := root()
	stop := &stopAfter{line: "inversion 1/3", cancel: cancel}
	cmd.SetErr(stop)
	cmd.SetArgs(append([]string{"train", "--out", filepath.Join(broken, "x.safetensors")}, append(short, zip)...))
	if err := cmd.ExecuteContext(stopping); err == nil || !strings.Contains(stop.String(), "go on with the same command and --resume") {
		t.Fatalf("got %v and %s", err, stop.String())
	}
	if _, err := os.Stat(filepath.Join(broken, "x.safetensors")); err == nil {
		t.Error("a file was written for half a training")
	}
	if messages, err := lowrankTrain(t, ctx, broken, append(short, "--resume", zip)...); err != nil || !strings.Contains(messages, "going on from a checkpoint") {
		t.Fatalf("%v\n%s", err, messages)
	}
	for _, name := range []string{"x.safetensors", "x-loss.csv"} {
		a, errA := os.ReadFile(filepath.Join(want, name))
		b, errB := os.ReadFile(filepath.Join(broken, name))
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs after being resumed (%v, %v)", name, errA, errB)
		}
	}
}

func TestTrainErrors(t *testing.T) {
	zip := sampleZip(t)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"Task", []string{"--task", "dog", zip}, `task is "dog"; it must be face, object or style`},
		{"Rank", []string{"--lora-rank", "0", zip}, "lora_rank is 0; it must be from 1 to 128"},
		{"NotANumber", []string{"--learning-rate-unet", "fast", zip}, `--learning-rate-unet: learning_rate_unet: "fast" does not fit; want a number`},
		{"Resolution", []string{"--resolution", "512", zip}, "resolution is 512; the base emoji-64 takes multiples of 16 from 64 to 128"},
		{"Name", []string{"--format", "kohya", "--placeholder-tokens", "a.b", zip}, "a.b"},
		{"Format", []string{"--format", "pickle", zip}, `format is "pickle"`},
		{"Base", []string{"--base", "sd9", zip}, `there is no base model "sd9"`},
		{"Missing", []string{filepath.Join(t.TempDir(), "none.zip")}, "no such file"},
		{"Folder", []string{"--out", filepath.Join(t.TempDir(), "none", "x.safetensors"), zip}, "there is no folder"},
		{"NoArgument", nil, "needs the pictures, a zip or a folder"},
	} {
		t.Run("Err"+tt.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := lowrankTrain(t, context.Background(), dir, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 0 {
				t.Errorf("left %v behind", entries)
			}
		})
	}
}
