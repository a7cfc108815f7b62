//go:build !cuda

package enginetest

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/sealed"
)

// devices are the processor with sealed memory, which shows whoever reaches
// around the device, and the processor's kernel sets, the best one last.
func devices() (all []kind) {
	all = append(all, kind{"sealed", func(t testing.TB) device.Device {
		dev, err := sealed.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		return dev
	}})
	for _, kernels := range cpu.KernelSets() {
		all = append(all, kind{kernels, func(t testing.TB) device.Device {
			dev, err := cpu.New(cpu.Options{Kernels: kernels, Poison: true})
			if err != nil {
				t.Fatal(err)
			}
			return dev
		}})
	}
	return all
}
