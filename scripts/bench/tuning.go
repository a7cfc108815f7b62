package main

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// tuningRow is a tuning step of UNet and text encoder at a size.
type tuningRow struct {
	name, folder         string
	height, width, batch int // latents
	rank                 int
	flop                 float64 // counted, 0 where it is not
	runs                 int     // 0: as asked for
	times                int     // a run
	precisions           []device.DType
}

const tuningPeer = "diffusers + peft"

// A step's backward is as much work as its forward but for attention's, which
// is two and a half times its own forward: 15 % of SD 1.5.
const flopStep = flopUNet * (2 + 1.5*0.15)

func (b *bench) tunings() []tuningRow {
	both, f32 := []device.DType{device.F32, device.BF16}, []device.DType{device.F32}
	return []tuningRow{
		{name: "tuning step, SD 1.5 size, 512×512, rank 16, batch 1", folder: b.large, height: 64, width: 64, batch: 1, rank: 16, flop: flopStep, runs: 2, times: 1, precisions: both},
		{name: "tuning step, embedded base, 64×64, rank 16, batch 1", folder: embeddedFolder, height: 16, width: 16, batch: 1, rank: 16, flop: 2.2 * flopEmbedded, times: 10, precisions: f32},
		{name: "tuning step, embedded base, 64×64, rank 16, batch 4", folder: embeddedFolder, height: 16, width: 16, batch: 4, rank: 16, flop: 4 * 2.2 * flopEmbedded, times: 10, precisions: f32},
		{name: "tuning step, parity-sized tiny model, 8×8 latents, rank 4, batch 1", folder: tinyFolder, height: 8, width: 8, batch: 1, rank: 4, times: 20, precisions: f32},
	}
}

func benchTuning(b *bench) (rows []row, err error) {
	for _, t := range b.tunings() {
		for _, precision := range t.precisions {
			if !b.wants(t.name, precision, tuningPeer) {
				continue
			}
			r, err := b.tuning(t, precision)
			if err != nil {
				return nil, fmt.Errorf("%s, %v: %w", t.name, precision, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// stepAnswer is what a step was like, on either side.
type stepAnswer struct {
	Seconds float64
	Loss    float64   // of the last step
	Picks   []float32 // of the last step's gradients, in the order of the layers, each up, then down
}

// tuning measures one row. Both sides begin with the same factors and take the
// same updates, so the second check is of the first update as well.
func (b *bench) tuning(t tuningRow, precision device.DType) (row, error) {
	folder, done, err := openFolder(t.folder)
	if err != nil {
		return row{}, err
	}
	defer done()
	ours, err := openStep(folder, t.height, t.width, t.batch, t.rank, precision, b.threads)
	if err != nil {
		return row{}, err
	}
	defer ours.close()
	p, err := startPeer(b.python, "tuning.py", b.threads)
	if err != nil {
		return row{}, err
	}
	defer p.close()
	load, err := describe(folder, t)
	if err != nil {
		return row{}, err
	}
	load["op"], load["precision"], load["threads"], load["tries"] = "load", precision.String(), b.threads, 1+min(2, t.times/5)
	var form struct{ Form string }
	if err := p.ask(load, &form); err != nil {
		return row{}, err
	}
	ask := func(times int, picks bool) (a stepAnswer, err error) {
		return a, p.ask(map[string]any{"op": "run", "times": times, "picks": picks}, &a)
	}
	for range 2 { // before and after an update
		mine, err := ours.run(1)
		if err != nil {
			return row{}, err
		}
		theirs, err := ask(1, true)
		if err != nil {
			return row{}, err
		}
		if err := sameStep(mine, theirs, precision); err != nil {
			return row{}, err
		}
	}
	runs := b.runs
	if t.runs > 0 {
		runs = min(runs, t.runs)
	}
	mine, theirs, err := alternate(runs, func() (float64, error) {
		a, err := ours.run(t.times)
		return a.Seconds, err
	}, func() (float64, error) {
		a, err := ask(t.times, false)
		return a.Seconds, err
	})
	if err != nil {
		return row{}, err
	}
	r := faster(fmt.Sprintf("%s, %v", t.name, precision), tuningPeer+", "+form.Form, mine, theirs)
	if t.flop > 0 {
		r.Share = t.flop / r.Ours / b.peakOf(precision)
	}
	return r, nil
}

// sameStep compares losses and gradients. In bf16 each side rounds in places of
// its own, and a gradient has come through both directions.
func sameStep(ours, theirs stepAnswer, precision device.DType) error {
	loss, grads := 1e-4, 2e-3
	if precision == device.BF16 {
		loss, grads = 2e-2, 1.5e-1
	}
	if d := math.Abs(ours.Loss-theirs.Loss) / theirs.Loss; !(d <= loss) {
		return fmt.Errorf("the losses differ: %v, the peer's %v", ours.Loss, theirs.Loss)
	}
	if err := near(ours.Picks, theirs.Picks, grads); err != nil {
		return fmt.Errorf("gradients: %w", err)
	}
	return nil
}
