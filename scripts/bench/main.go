package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// bench is what the parts of a run share.
type bench struct {
	pool    *tensor.Pool
	python  string
	threads int
	runs    int
	peak    float64 // FLOP/s of all threads, f32
	rows    string  // only rows with this in their names
	large   string  // folder of a base of SD 1.5's size, in f32
	half    string  // the same in f16

	peakBF16 float64
}

// part is a group of rows.
type part struct {
	name string
	run  func(*bench) ([]row, error)
}

var parts = []part{
	{"products", benchProducts},
	{"models", benchModels},
	{"drawing", benchDrawing},
	{"tuning", benchTuning},
	{"start", benchStart},
	{"memory", benchMemory},
	{"concepts", benchConcepts},
	{"together", benchTogether},
	{"service", benchService},
}

func main() {
	if len(os.Args) == 3 && (os.Args[1] == noopService || os.Args[1] == noopRunner) {
		if err := noop(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == firstStep {
		if err := runFirstStep(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	python := flag.String("python", "python3", "python with peers/requirements.txt installed")
	out := flag.String("json", "bench.json", "where the rows go")
	only := flag.String("only", "", "parts to run, separated by commas; all when empty")
	match := flag.String("rows", "", "of all parts but products and service, only rows with this in \"name, precision, peer\"")
	threads := flag.Int("threads", runtime.GOMAXPROCS(0), "threads of both sides")
	runs := flag.Int("runs", 5, "runs of each side, in turns")
	large := flag.String("base", "", "diffusers folder of a base of SD 1.5's size in f32, such as scripts/parity/realsize.py makes")
	half := flag.String("base-f16", "", "the same base in f16")
	flag.Parse()

	if err := exec.Command(*python, "-c", "import torch").Run(); err != nil {
		return fmt.Errorf("%s cannot run the peers: `pip install -r scripts/bench/peers/requirements.txt`, and name that interpreter with -python", *python)
	}
	dev, err := cpu.New(cpu.Options{Threads: *threads})
	if err != nil {
		return err
	}
	b := &bench{pool: tensor.NewPool(dev), python: *python, threads: *threads, runs: *runs, large: *large, half: *half, rows: *match, peak: peak(*threads, f32Peak)}
	fmt.Printf("%s, %d threads, peak %.0f GFLOP/s\n", dev.Name(), b.threads, b.peak/1e9)
	var rows []row
	for _, p := range parts {
		if *only != "" && !strings.Contains(","+*only+",", ","+p.name+",") {
			continue
		}
		more, err := p.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		writeTable(os.Stdout, more)
		rows = append(rows, more...)
	}
	command := "go run ./scripts/bench"
	if *only != "" {
		command += " -only " + *only
	}
	if *match != "" {
		command += fmt.Sprintf(" -rows %q", *match)
	}
	for i := range rows {
		rows[i].Command, rows[i].Machine = command, fmt.Sprintf("%s, %d threads, %s", machine(), b.threads, dev.Name())
	}
	return writeJSON(*out, rows)
}

// wants says whether a row was asked for.
func (b *bench) wants(name string, precision device.DType, peer string) bool {
	return strings.Contains(fmt.Sprintf("%s, %v, %s", name, precision, peer), b.rows)
}

// machine names the processor.
func machine() string {
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				return strings.TrimLeft(strings.TrimSpace(name), ": \t") + ", " + runtime.GOOS + "/" + runtime.GOARCH
			}
		}
	}
	return runtime.GOOS + "/" + runtime.GOARCH
}

func bytesOf(values []float32) []byte {
	b := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	return b
}
