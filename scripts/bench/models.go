package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// evaluation is a network of a base model's folder, at a size of latents.
type evaluation struct {
	name, folder, part   string
	height, width, batch int
	flop                 float64 // counted, of all samples; 0 where it is not
	times                int     // a run
	runs                 int     // 0: as asked for
	peers                []string
}

const (
	embeddedFolder = "gpurunner/base/embedded/model"
	tinyFolder     = "gpurunner/paritytest/testdata/models/sd15-tiny"

	flopUNet     = 0.804e12 // of SD 1.5 at 64×64 latents, one sample
	flopEmbedded = 0.92e9   // of the embedded base at 16×16

	diffusers = "diffusers"
	openvino  = "OpenVINO"
)

// peerFiles are the programs in peers/ that evaluate a network.
var peerFiles = map[string]string{diffusers: "models.py", openvino: "ov.py"}

// evaluations are the rows of a UNet evaluation and of a decode.
func (b *bench) evaluations() []evaluation {
	torch, both := []string{diffusers}, []string{diffusers, openvino}
	return []evaluation{
		{"UNet evaluation, SD 1.5 size, 64×64 latents, batch 2", b.large, "unet", 64, 64, 2, 2 * flopUNet, 1, 2, both},
		{"VAE decode to 512×512, SD 1.5 size", b.large, "vae", 64, 64, 1, 2.5e12, 1, 2, torch},
		{"UNet evaluation, embedded base, 16×16 latents, batch 2", embeddedFolder, "unet", 16, 16, 2, 2 * flopEmbedded, 20, 0, torch},
		{"UNet evaluation, parity-sized tiny model, 8×8 latents, batch 2", tinyFolder, "unet", 8, 8, 2, 0, 50, 0, torch},
	}
}

func benchModels(b *bench) (rows []row, err error) {
	for _, e := range b.evaluations() {
		for _, precision := range []device.DType{device.F32, device.BF16} {
			for _, peer := range e.peers {
				if !b.wants(e.name, precision, peer) {
					continue
				}
				r, err := b.evaluation(e, precision, peer)
				if err != nil {
					return nil, fmt.Errorf("%s, %v, %s: %w", e.name, precision, peer, err)
				}
				rows = append(rows, r)
			}
		}
	}
	return rows, nil
}

// evaluation measures one network in one precision beside one peer.
func (b *bench) evaluation(e evaluation, precision device.DType, peer string) (row, error) {
	folder, done, err := openFolder(e.folder)
	if err != nil {
		return row{}, err
	}
	defer done()
	p, err := startPeer(b.python, peerFiles[peer], b.threads)
	if err != nil {
		return row{}, err
	}
	defer p.close()
	var form struct {
		Form  string
		Tried map[string]float64
	}
	if err := p.ask(map[string]any{"op": "load", "folder": folder, "part": e.part, "precision": precision.String(), "batch": e.batch,
		"height": e.height, "width": e.width, "threads": b.threads, "tries": 1 + min(4, e.times/5)}, &form); err != nil {
		return row{}, err
	}
	ours, err := openNetwork(folder, e, precision, b.threads)
	if err != nil {
		return row{}, err
	}
	defer ours.close()
	var answer struct {
		Seconds float64
		Picks   []float32
	}
	ask := func() error { return p.ask(map[string]any{"op": "run", "times": e.times}, &answer) }
	if _, err := ours.run(1); err != nil {
		return row{}, err
	}
	if err := ask(); err != nil {
		return row{}, err
	}
	limit := 1e-3
	if precision == device.BF16 {
		limit = 4e-2 // each side within 2e-2 of float32
	}
	if err := near(picks(ours.result), answer.Picks, limit); err != nil {
		return row{}, err
	}
	runs := b.runs
	if e.runs > 0 {
		runs = min(runs, e.runs)
	}
	mine, theirs, err := alternate(runs, func() (float64, error) { return ours.run(e.times) }, func() (float64, error) {
		err := ask()
		return answer.Seconds, err
	})
	if err != nil {
		return row{}, err
	}
	r := faster(fmt.Sprintf("%s, %v", e.name, precision), peer+", "+form.Form, mine, theirs)
	if e.flop > 0 {
		r.Share = e.flop / r.Ours / b.peakOf(precision)
	}
	return r, nil
}

// openFolder returns a model's folder as any side reads it, and what removes it
// again where it is a copy.
func openFolder(folder string) (path string, done func(), err error) {
	if path, err = filepath.Abs(folder); err != nil || folder != tinyFolder {
		return path, func() {}, err
	}
	temp, err := os.MkdirTemp("", "lowrank-bench-*")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(temp) }
	if err := expand(temp, path); err != nil {
		done()
		return "", nil, err
	}
	return temp, done, nil
}
