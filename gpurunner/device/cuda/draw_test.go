//go:build cuda

package cuda_test

import (
	"context"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device/cuda"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// From the fourth on, a step of sampling is a few graphs: its evaluation of the
// network is replayed.
func TestDrawingReplays(t *testing.T) {
	dev, err := cuda.Open(cuda.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	m := openTiny(t, dev)
	defer m.Release()
	calls := cuda.CountCalls(t)
	var steps []cuda.Calls
	err = generate.Draw(context.Background(), m, generate.Request{Prompt: "a lighthouse", Width: 64, Height: 64, Steps: 6, Guidance: 7.5, Seed: 1,
		Progress: func(generate.Step) {
			if c, ok := calls(); ok {
				steps = append(steps, c)
			}
		}}, func(int, *imageops.Picture) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("launches of each step: %+v", steps)
	for i, c := range steps[min(3, len(steps)):] {
		if !c.Replays(steps[1]) {
			t.Errorf("step %d makes %+v launches; the second, which is not replayed, %+v", 3+i, c, steps[1])
		}
	}
}
