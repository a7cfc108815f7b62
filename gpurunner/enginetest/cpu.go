//go:build !cuda

package enginetest

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
)

// devices are the processor's kernel sets, the best one last.
func devices() (all []kind) {
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
