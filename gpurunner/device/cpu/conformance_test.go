package cpu_test

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/devicetest"
)

// open returns a device for tests, its fresh and released memory full of NaN.
func open(t *testing.T, kernels string) func() device.Device {
	return func() device.Device {
		d, err := cpu.New(cpu.Options{Kernels: kernels, Poison: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func TestDevice(t *testing.T) {
	for _, kernels := range cpu.KernelSets() {
		t.Run(kernels, func(t *testing.T) { devicetest.Run(t, open(t, kernels)) })
	}
}

// AVX2 and AVX-512 sum in the same order; the portable code, which has no
// fused multiply-add, does not.
func TestSameBitsOfInstructionSets(t *testing.T) {
	var first map[string]uint64
	var name string
	for _, kernels := range cpu.KernelSets() {
		if kernels == "generic" {
			continue
		}
		dev := open(t, kernels)()
		got := devicetest.Digests(t, dev)
		dev.(*cpu.Device).Close()
		if first == nil {
			first, name = got, kernels
			continue
		}
		for op, digest := range got {
			if digest != first[op] {
				t.Errorf("%s: other bits with %s than with %s", op, kernels, name)
			}
		}
	}
	if first == nil {
		t.Skip("this machine has only the portable kernels")
	}
}
