package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// report is what a run of gpucheck shows.
type report struct {
	Command  string    `json:"command"`
	GPU      cuda.Info `json:"gpu"`
	Kernels  string    `json:"kernels"`
	Rows     []row     `json:"rows"`
	Notes    []string  `json:"notes"`
	Failures []string  `json:"failures"`
}

// row is one timing.
type row struct {
	Model     string  `json:"model"`
	Work      string  `json:"work"`
	Side      string  `json:"side"` // lowrank, or the peer
	Precision string  `json:"precision"`
	Step      float64 `json:"step_seconds"`
	TFLOP     float64 `json:"tflop_per_step"`
	PeakShare float64 `json:"share_of_peak"`
	Memory    int64   `json:"peak_bytes"`
	Note      string  `json:"note"`
}

func (r *report) add(w io.Writer, x row) {
	r.Rows = append(r.Rows, x)
	fmt.Fprintln(w, x.line())
}

func (x row) line() string {
	if x.Step == 0 {
		return fmt.Sprintf("| %s | %s | %s | %s | | | | | %s |", x.Model, x.Work, x.Side, x.Precision, x.Note)
	}
	share := ""
	if x.PeakShare > 0 {
		share = fmt.Sprintf("%.0f %%", 100*x.PeakShare)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %.1f | %.2f | %s | %.2f | %s |", x.Model, x.Work, x.Side, x.Precision, 1000*x.Step, x.TFLOP, share,
		float64(x.Memory)/(1<<30), x.Note)
}

func (r *report) markdown() string {
	var b strings.Builder
	g := r.GPU
	fmt.Fprintf(&b, "# %s\n\n", g.Name)
	fmt.Fprintf(&b, "Compute capability %d.%d, %d multiprocessors at up to %d MHz, %.0f GiB, driver's CUDA %d.%d, %s/%s. `%s`\n\n", g.Capability/10, g.Capability%10,
		g.Processors, g.ClockKHz/1000, float64(g.Memory)/(1<<30), g.Driver/1000, g.Driver%1000/10, runtime.GOOS, runtime.GOARCH, r.Command)
	if peak := peakFLOPS(g); peak > 0 {
		fmt.Fprintf(&b, "Peak of the tensor cores at that clock, by their documented rate: %.0f TFLOP/s.\n\n", peak/1e12)
	}
	if r.Kernels != "" {
		fmt.Fprintf(&b, "Kernels beside the processor: %s.\n\n", r.Kernels)
	}
	b.WriteString("| model | work | side | precision | ms a step | TFLOP a step | of peak | peak GiB | |\n|---|---|---|---|---:|---:|---:|---:|---|\n")
	for _, x := range r.Rows {
		b.WriteString(x.line() + "\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\n**Failed:** %s\n", f)
	}
	return b.String()
}

func (r *report) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.markdown()), 0o644)
}

// peakFLOPS is what the tensor cores do at most in bf16 or f16 with float32 sums,
// by NVIDIA's architecture papers: operations a cycle and multiprocessor.
func peakFLOPS(g cuda.Info) float64 {
	perCycle := map[int]float64{75: 1024, 80: 2048, 86: 1024, 87: 1024, 89: 1024, 90: 4096}[g.Capability]
	return perCycle * float64(g.Processors) * float64(g.ClockKHz) * 1000
}
