package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// evaluation is a network of a base model's folder, at a size of latents.
type evaluation struct {
	name, folder, part   string
	height, width, batch int
	flop                 float64 // counted, of all samples; 0 where it is not
	times                int     // a run
	runs                 int     // 0: as asked for
}

const (
	embeddedFolder = "gpurunner/base/embedded/model"
	tinyFolder     = "gpurunner/paritytest/testdata/models/sd15-tiny"
)

// evaluations are the rows of a UNet evaluation and of a decode.
func (b *bench) evaluations() []evaluation {
	large := b.large
	return []evaluation{
		{"UNet evaluation, SD 1.5 size, 64×64 latents, batch 2", large, "unet", 64, 64, 2, 2 * 0.804e12, 1, 2},
		{"VAE decode to 512×512, SD 1.5 size", large, "vae", 64, 64, 1, 2.5e12, 1, 2},
		{"UNet evaluation, embedded base, 16×16 latents, batch 2", embeddedFolder, "unet", 16, 16, 2, 2 * 0.92e9, 20, 0},
		{"UNet evaluation, parity-sized tiny model, 8×8 latents, batch 2", tinyFolder, "unet", 8, 8, 2, 0, 50, 0},
	}
}

func benchModels(b *bench) (rows []row, err error) {
	for _, e := range b.evaluations() {
		for _, precision := range []device.DType{device.F32, device.BF16} {
			if !strings.Contains(fmt.Sprintf("%s, %v", e.name, precision), b.rows) {
				continue
			}
			r, err := b.evaluation(e, precision)
			if err != nil {
				return nil, fmt.Errorf("%s, %v: %w", e.name, precision, err)
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// evaluation measures one network in one precision.
func (b *bench) evaluation(e evaluation, precision device.DType) (row, error) {
	folder, err := filepath.Abs(e.folder)
	if err != nil {
		return row{}, err
	}
	if e.folder == tinyFolder {
		temp, err := os.MkdirTemp("", "lowrank-bench-*")
		if err != nil {
			return row{}, err
		}
		defer os.RemoveAll(temp)
		if err := expand(temp, folder); err != nil {
			return row{}, err
		}
		folder = temp
	}
	p, err := startPeer(b.python, "models.py", b.threads)
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
	if err := near(ours.picks(), answer.Picks, limit); err != nil {
		return row{}, err
	}
	runs := b.runs
	if e.runs > 0 {
		runs = min(runs, e.runs)
	}
	var mine, theirs []float64
	for range runs {
		seconds, err := ours.run(e.times)
		if err != nil {
			return row{}, err
		}
		mine = append(mine, seconds)
		if err := ask(); err != nil {
			return row{}, err
		}
		theirs = append(theirs, answer.Seconds)
	}
	r := faster(fmt.Sprintf("%s, %v", e.name, precision), "diffusers, "+form.Form, mine, theirs)
	if e.flop > 0 {
		r.Share = e.flop / r.Ours / b.peakOf(precision)
	}
	return r, nil
}

// network is ours.
type network struct {
	dev     *cpu.Device
	base    *base.Base
	model   *diffusion.Model
	forward func(p *autodiff.Pass) (*autodiff.Value, error)
	result  []float32
}

func openNetwork(folder string, e evaluation, precision device.DType, threads int) (*network, error) {
	dev, err := cpu.New(cpu.Options{Threads: threads, Precision: precision})
	if err != nil {
		return nil, err
	}
	n := &network{dev: dev}
	if n.base, err = base.Open(folder, base.Options{}); err != nil {
		return nil, err
	}
	pool := tensor.NewPool(dev)
	if n.model, err = diffusion.Open(pool, n.base); err != nil {
		return nil, err
	}
	if e.part == "vae" {
		net, err := n.model.Decoder()
		if err != nil {
			return nil, err
		}
		x := autodiff.Constant(values(pool, 1, 4, e.batch, e.height, e.width, n.model.VAEConfig().LatentChannels))
		n.forward = func(p *autodiff.Pass) (*autodiff.Value, error) { return net.Decode(p, x) }
		return n, nil
	}
	net, err := n.model.UNet()
	if err != nil {
		return nil, err
	}
	config := n.model.UNetConfig()
	x := autodiff.Constant(values(pool, 1, 4, e.batch, e.height, e.width, config.InChannels))
	text := autodiff.Constant(values(pool, 2, 2, e.batch, 77, config.CrossAttention))
	condition := unet.Condition{Context: text}
	for range e.batch {
		condition.Timesteps = append(condition.Timesteps, 500)
	}
	n.forward = func(p *autodiff.Pass) (*autodiff.Value, error) { return net.Forward(p, x, condition) }
	return n, nil
}

// values are numbers times scale, on the device.
func values(pool *tensor.Pool, seed uint32, scale float32, shape ...int) *tensor.Tensor {
	size := 1
	for _, n := range shape {
		size *= n
	}
	v := numbers(size, seed)
	for i := range v {
		v[i] *= scale
	}
	return pool.FromFloat32(v, shape...)
}

// run evaluates so many times and returns the seconds of one.
func (n *network) run(times int) (float64, error) {
	begin := time.Now()
	for i := range times {
		err := autodiff.Run(context.Background(), n.model.Pool, func(p *autodiff.Pass) error {
			y, err := n.forward(p)
			if err != nil {
				return err
			}
			if i == times-1 {
				n.result = y.T.Float32()
			}
			y.Release()
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return time.Since(begin).Seconds() / float64(times), nil
}

// picks are the elements that a peer sends.
func (n *network) picks() (picks []float32) {
	stride := max(1, len(n.result)/4096)
	for i := 0; i < len(n.result) && len(picks) < 4096; i += stride {
		picks = append(picks, n.result[i])
	}
	return picks
}

func (n *network) close() {
	n.dev.Close()
	n.base.Close()
}

// expand copies a folder, what is compressed in it opened.
func expand(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if plain, ok := strings.CutSuffix(dst, ".gz"); ok {
			r, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				return err
			}
			if b, err = io.ReadAll(r); err != nil {
				return err
			}
			dst = plain
		}
		return os.WriteFile(dst, b, 0o644)
	})
}

// near compares two results by the norm of their difference.
func near(ours, theirs []float32, limit float64) error {
	if len(ours) != len(theirs) {
		return fmt.Errorf("the results differ: %d elements, the peer's %d", len(ours), len(theirs))
	}
	diff, size := 0.0, 0.0
	for i, v := range theirs {
		d := float64(ours[i]) - float64(v)
		diff += d * d
		size += float64(v) * float64(v)
	}
	if e := math.Sqrt(diff / size); !(e <= limit) {
		return fmt.Errorf("the results differ by %.2g of their norm, more than %.2g", e, limit)
	}
	return nil
}

// peakOf is the machine's peak in a precision, measured when first asked for.
func (b *bench) peakOf(precision device.DType) float64 {
	if precision == device.F32 {
		return b.peak
	}
	if b.peakBF16 == 0 {
		p := kernel.LookupPairs("")
		b.peakBF16 = peak(b.threads, func() int { return p.Peak(5000) })
	}
	return b.peakBF16
}
