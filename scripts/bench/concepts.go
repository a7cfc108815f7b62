package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Concepts have no peer: switching has a goal, and drawing with one stands
// beside drawing with the bare base.
const (
	conceptRank = 16
	switchGoal  = 5e-3 // seconds
	switches    = 20   // a run
	bareBase    = "the bare base"
	goal        = "goal"
)

func benchConcepts(b *bench) (rows []row, err error) {
	for _, e := range b.evaluations() {
		if e.part != "unet" || e.folder == tinyFolder || !b.wants("concept, "+e.name, device.F32, bareBase) {
			continue
		}
		more, err := b.concepts(e)
		if err != nil {
			return nil, fmt.Errorf("concepts, %s: %w", e.name, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// concepts measures two concepts of rank 16 on UNet and text encoder.
func (b *bench) concepts(e evaluation) ([]row, error) {
	dir, err := os.MkdirTemp("", "lowrank-bench-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	n, err := openNetwork(e.folder, e, device.F32, b.threads)
	if err != nil {
		return nil, err
	}
	defer n.close()
	n.kept = &unet.Kept{} // as in a drawing
	layers := generate.Layers(e.folder, n.model)
	files := []string{filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b.safetensors")}
	for i, f := range files {
		if err := lora.WriteFile(f, concept(layers, uint32(i), n.model.Text[0].Config.HiddenSize), lora.Cloneofsimo); err != nil {
			return nil, err
		}
	}
	// What a request does: the set is there or read, then it is mounted.
	use := func(set *lora.Set) (*generate.Concepts, error) {
		return generate.Mount(n.model, []lora.Mount{{Set: set, Scale: 1}})
	}
	sets := make([]*lora.Set, len(files))
	var first, again, with, bare []float64
	for range b.runs {
		for i, f := range files { // as if for the first time
			begin := time.Now()
			if sets[i], err = lora.Open(f, layers); err != nil {
				return nil, err
			}
			c, err := use(sets[i])
			if err != nil {
				return nil, err
			}
			first = append(first, time.Since(begin).Seconds())
			c.Release()
		}
		begin := time.Now()
		for i := range switches {
			c, err := use(sets[i%len(sets)])
			if err != nil {
				return nil, err
			}
			c.Release()
		}
		again = append(again, time.Since(begin).Seconds()/switches)
		for _, s := range sets {
			defer s.Unload()
		}
	}

	if _, err := n.run(1); err != nil {
		return nil, err
	}
	plain := slices.Clone(n.result)
	n.kept.Release()
	runs := b.runs
	if e.runs > 0 {
		runs = min(runs, e.runs)
	}
	for i := range runs {
		c, err := use(sets[0])
		if err != nil {
			return nil, err
		}
		seconds, err := n.run(e.times)
		c.Release()
		n.kept.Release()
		if err != nil {
			return nil, err
		}
		with = append(with, seconds)
		if i == 0 && near(n.result, plain, 1e-3) == nil {
			return nil, fmt.Errorf("the concept changes nothing")
		}
		if seconds, err = n.run(e.times); err != nil {
			return nil, err
		}
		n.kept.Release()
		bare = append(bare, seconds)
		if i == 0 && !slices.Equal(n.result, plain) {
			return nil, fmt.Errorf("the base is another after a concept")
		}
	}
	return []row{
		faster("switching to a concept that was used before, "+e.name, goal, again, []float64{switchGoal}),
		faster("switching to a new concept's file, "+e.name, goal, first, []float64{switchGoal}),
		faster("with one concept, "+e.name, bareBase, with, bare),
	}, nil
}

// concept makes a set of numbers with a token.
func concept(layers *lora.Base, seed uint32, width int) *lora.Set {
	s := &lora.Set{Name: fmt.Sprint("concept ", seed), Base: layers, Tokens: []lora.Token{{Name: "<s1>", Rows: [][][]float32{{scaled(width, seed, 0.1)}}}}}
	for _, part := range []lora.Part{lora.UNet, lora.TextEncoder} {
		for i, m := range layers.Targets(part, lora.DefaultTargets) {
			rank := min(conceptRank, m.In, m.Out)
			s.Adapters = append(s.Adapters, lora.Adapter{Module: m, Rank: rank, Scale: 1,
				Down: scaled(rank*m.In, factorSeed(i, 1)+seed, factorScale), Up: scaled(m.Out*rank, factorSeed(i, 0)+seed, factorScale)})
		}
	}
	return s
}
