//go:build cuda

package enginetest

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// devices is the GPU in float32, each buffer an allocation of its own: on the
// fake driver, which parity runs on without a GPU, that shows every overrun.
func devices() []kind {
	return []kind{{"cuda", func(t testing.TB) device.Device {
		dev, err := cuda.Open(cuda.Options{Direct: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		return dev
	}}}
}
