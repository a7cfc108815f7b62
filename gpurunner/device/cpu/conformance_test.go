package cpu_test

import (
	"slices"
	"strings"
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

// openBF16 is open in the bf16 mode.
func openBF16(t *testing.T, name string) func() device.Device {
	return func() device.Device {
		d, err := cpu.New(cpu.Options{Precision: device.BF16, BF16: name, Poison: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// Where the machine lacks a kind, its emulation runs: the kernel's tests hold
// the two to the same bits.
func TestDeviceBF16(t *testing.T) {
	have := cpu.BF16Sets()
	for _, name := range cpu.EmulatedBF16Sets() {
		if real := strings.TrimPrefix(name, "emulated-"); slices.Contains(have, real) {
			name = real
		}
		t.Run(name, func(t *testing.T) { devicetest.RunBF16(t, openBF16(t, name)) })
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
