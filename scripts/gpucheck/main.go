package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// settings are the flags.
type settings struct {
	models, out, python, only, precision string
	runs, steps, concept, warm, size     int
}

func main() {
	var s settings
	flag.StringVar(&s.models, "models", "sd15,sd21,sdxl", "what to draw and train with; embedded is small")
	flag.StringVar(&s.only, "only", "", "parts to run: kernels, ours, peers; all when empty")
	flag.StringVar(&s.precision, "precision", "auto", "of our products: auto, bf16, f16 or f32")
	flag.StringVar(&s.out, "out", ".", "folder for results.md and results.json")
	flag.StringVar(&s.python, "python", "python3", "a Python that may have torch, diffusers and peft")
	flag.IntVar(&s.runs, "runs", 3, "drawings of each kind")
	flag.IntVar(&s.steps, "steps", 20, "steps of a drawing, and timed steps of a training")
	flag.IntVar(&s.warm, "warm", 5, "first steps of a training that are not timed: they load, encode the pictures and capture")
	flag.IntVar(&s.size, "size", 0, "edge of the pictures; 0 for what the model was made for")
	flag.IntVar(&s.concept, "concept", 1000, "steps of the whole concept; 0 leaves it out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := check(ctx, s, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpucheck:", err)
		os.Exit(1)
	}
}

// check runs the parts and writes what came out of them, also where one failed.
func check(ctx context.Context, s settings, w io.Writer) error {
	wants := func(part string) bool { return s.only == "" || strings.Contains(","+s.only+",", ","+part+",") }
	info, err := cuda.Probe(0)
	if err != nil {
		return err
	}
	r := &report{GPU: info, Command: strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " ")}
	fail := func(err error) {
		if err != nil {
			r.Failures = append(r.Failures, err.Error())
			fmt.Fprintln(w, "FAILED:", err)
		}
	}
	if wants("kernels") {
		for _, p := range precisions(info) {
			fail(cuda.Doctor(w, cuda.Options{Precision: p}))
		}
		fail(r.kernels(ctx, w))
	}
	for _, name := range strings.Split(s.models, ",") {
		if wants("ours") && ctx.Err() == nil {
			fail(r.ours(ctx, w, name, s))
		}
		if wants("peers") && ctx.Err() == nil {
			fail(r.peers(ctx, w, name, s))
		}
	}
	if err := r.write(s.out); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s", r.markdown())
	if len(r.Failures) > 0 {
		return fmt.Errorf("%d checks failed: %s", len(r.Failures), strings.Join(r.Failures, "; "))
	}
	return ctx.Err()
}

// precisions are those that the GPU has.
func precisions(info cuda.Info) []device.DType {
	if info.Capability < 80 {
		return []device.DType{device.F32, device.F16}
	}
	return []device.DType{device.F32, device.F16, device.BF16}
}
