package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// onceRow is one piece of work by a fresh process of each side: a picture, or a
// tuning step.
type onceRow struct {
	name, folder  string
	side          int // of the picture, pixels
	steps         int // of the drawing; 0 is a tuning step
	height, width int // latents
	runs          int // 0: as asked for
}

func benchStart(b *bench) ([]row, error) {
	return b.onces([]onceRow{
		{name: "process start → first picture, embedded base, 20 steps", folder: embeddedFolder, side: 64, steps: 20, height: 16, width: 16},
		{name: "process start → first training step, embedded base, batch 1", folder: embeddedFolder, height: 16, width: 16},
	}, func(p process) float64 { return p.seconds }, "s")
}

func benchMemory(b *bench) ([]row, error) {
	var rows []onceRow
	for _, from := range []struct{ name, folder string }{{"f32 folder", b.large}, {"f16 folder", b.half}} {
		rows = append(rows,
			onceRow{name: "peak resident memory, picture of 512×512, SD 1.5 size, " + from.name, folder: from.folder, side: 512, steps: 2, height: 64, width: 64, runs: 2},
			onceRow{name: "peak resident memory, tuning step at 512×512, SD 1.5 size, " + from.name, folder: from.folder, height: 64, width: 64, runs: 2})
	}
	return b.onces(rows, func(p process) float64 { return p.peak }, "B")
}

// onces measures rows of processes, what better tells of them.
func (b *bench) onces(list []onceRow, measure func(process) float64, unit string) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "lowrank-bench-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	lowrank := ""
	for _, o := range list {
		peer := diffusers
		if o.steps == 0 {
			peer = tuningPeer
		}
		if !b.wants(o.name, device.F32, peer) {
			continue
		}
		if lowrank == "" {
			if lowrank, err = program(dir); err != nil {
				return nil, err
			}
		}
		ours, theirs, same, err := b.sides(o, dir, lowrank)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		runs := b.runs
		if o.runs > 0 {
			runs = min(runs, o.runs)
		}
		var mine, peers []float64
		for i := range runs {
			a, err := ours()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			z, err := theirs()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			if i == 0 {
				if err := same(a, z); err != nil {
					return nil, fmt.Errorf("%s: %w", o.name, err)
				}
			}
			mine, peers = append(mine, measure(a)), append(peers, measure(z))
		}
		r := faster(o.name, peer, mine, peers)
		r.Unit = unit
		rows = append(rows, r)
	}
	return rows, nil
}

// sides returns both sides of a row and what compares what they made.
func (b *bench) sides(o onceRow, dir, lowrank string) (ours, theirs func() (process, error), same func(a, z process) error, err error) {
	folder, err := filepath.Abs(o.folder)
	if err != nil {
		return nil, nil, nil, err
	}
	script := filepath.Join("scripts", "bench", "peers", "once.py")
	if o.steps == 0 {
		t := tuningRow{folder: folder, height: o.height, width: o.width, batch: 1, rank: 16}
		request, err := describe(folder, t)
		if err != nil {
			return nil, nil, nil, err
		}
		request["precision"], request["threads"] = device.F32.String(), b.threads
		text, err := json.Marshal(request)
		if err != nil {
			return nil, nil, nil, err
		}
		self, err := os.Executable()
		if err != nil {
			return nil, nil, nil, err
		}
		args, err := json.Marshal(firstStepArgs{folder, t.height, t.width, t.batch, t.rank, b.threads})
		if err != nil {
			return nil, nil, nil, err
		}
		return func() (process, error) { return b.once(self, firstStep, string(args)) },
			func() (process, error) { return b.once(b.python, script, "step", string(text)) },
			sameSteps, nil
	}
	start := filepath.Join(dir, "start.f32")
	if err := b.writeStart(start, o.height, o.width); err != nil {
		return nil, nil, nil, err
	}
	mine, other := filepath.Join(dir, "ours.png"), filepath.Join(dir, "theirs.png")
	ours = func() (process, error) {
		return b.once(lowrank, "generate", "--device", "cpu", "--base", folder, "--steps", fmt.Sprint(o.steps), "--size", fmt.Sprintf("%dx%d", o.side, o.side),
			"--guidance", fmt.Sprint(drawingGuidance), "--scheduler", "DPMSolverMultistep", "--seed", fmt.Sprint(drawingSeed), "--out", mine, drawingPrompt)
	}
	theirs = func() (process, error) {
		return b.once(b.python, script, "draw", folder, drawingPrompt, fmt.Sprint(o.side), fmt.Sprint(o.steps), fmt.Sprint(drawingGuidance), start, other)
	}
	return ours, theirs, func(process, process) error { return samePictures(mine, other) }, nil
}

// writeStart writes the latents [C,H,W] that drawingSeed starts from.
func (b *bench) writeStart(path string, height, width int) error {
	const channels = 4
	t := b.pool.New(device.F32, 1, height, width, channels)
	defer t.Release()
	generate.Seeded(drawingSeed).Draw(t, 0, generate.Start, 0)
	values := t.Float32()
	turned := make([]float32, len(values))
	for i, v := range values {
		turned[i%channels*height*width+i/channels] = v
	}
	out := make([]byte, 0, 4*len(values))
	out, err := binary.Append(out, binary.LittleEndian, turned)
	if err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o644)
}

func samePictures(ours, theirs string) error {
	var pictures [2]*imageops.Picture
	for i, path := range []string{ours, theirs} {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if pictures[i], err = imageops.Decode(data, imageops.Options{}); err != nil {
			return err
		}
	}
	values := make([]int, len(pictures[1].Pix))
	for i, v := range pictures[1].Pix {
		values[i] = int(v)
	}
	return alike(pictures[0].Pix, values, drawingPSNR)
}

func sameSteps(a, z process) error {
	var answers [2]stepAnswer
	for i, line := range []string{a.line, z.line} {
		if err := json.Unmarshal([]byte(line), &answers[i]); err != nil {
			return fmt.Errorf("a step answered %.200q: %w", line, err)
		}
	}
	return sameStep(answers[0], answers[1], device.F32)
}
