//go:build cuda

package cuda

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cuda/kernels"
)

// #include <cuda.h>
import "C"

// Probe describes a GPU without opening it. The error wraps ErrUnusable.
func Probe(ordinal int) (Info, error) {
	info, _, err := probe(ordinal)
	return info, err
}

func probe(ordinal int) (Info, cu.Device, error) {
	// Package cu has called cuInit, or the process would not be here.
	n, err := cu.NumDevices()
	if err != nil || n == 0 {
		return Info{}, 0, fmt.Errorf("%w: the driver knows no GPU (%v)", ErrUnusable, err)
	}
	gpu, err := cu.GetDevice(ordinal)
	if err != nil {
		return Info{}, 0, fmt.Errorf("%w: there is no GPU number %d among %d", ErrUnusable, ordinal, n)
	}
	info := Info{Driver: cu.Version()}
	if info.Name, err = gpu.Name(); err != nil {
		return info, 0, fmt.Errorf("%w: %w", ErrUnusable, explain("ask for the GPU's name", err))
	}
	var major, minor int
	for _, a := range []struct {
		to *int
		of C.CUdevice_attribute
	}{
		{&major, C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
		{&minor, C.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
		{&info.Processors, C.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
		{&info.SharedMemory, C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
		{&info.ClockKHz, C.CU_DEVICE_ATTRIBUTE_CLOCK_RATE},
		{&info.MemoryClockKHz, C.CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE},
		{&info.BusBits, C.CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH},
	} {
		var v C.int
		if r := C.cuDeviceGetAttribute(&v, a.of, C.CUdevice(gpu)); r != C.CUDA_SUCCESS {
			return info, 0, fmt.Errorf("%w: %w", ErrUnusable, result("ask for the GPU's attributes", r))
		}
		*a.to = int(v)
	}
	info.Capability = 10*major + minor
	var total C.size_t
	C.cuDeviceTotalMem(&total, C.CUdevice(gpu))
	info.Memory = int64(total)
	for family, m := range kernels.For(info.Capability) {
		version, _ := kernels.Version(m.PTX)
		info.PTX = fmt.Sprintf("%d.%d", version/10, version%10)
		info.MachineCode = kernels.Machine(family, info.Capability) != nil
	}
	return info, gpu, nil
}

// usable says in one sentence what keeps a GPU from being used.
func usable(info Info, precision device.DType) error {
	if info.Driver < MinDriver {
		return fmt.Errorf("%w: the driver's interface is CUDA %d.%d; the kernels need 12.1, driver 530 or later", ErrUnusable, info.Driver/1000, info.Driver%1000/10)
	}
	if info.Capability < MinCapability {
		return fmt.Errorf("%w: %s has compute capability %d.%d; the kernels need 7.5", ErrUnusable, info.Name, info.Capability/10, info.Capability%10)
	}
	switch precision {
	case device.F32:
	case device.F16, device.BF16:
		if precision == device.BF16 && info.Capability < 80 {
			return fmt.Errorf("%w: %s has compute capability %d.%d, bf16 needs 8.0; use f32 for training and f16 for drawing",
				ErrUnusable, info.Name, info.Capability/10, info.Capability%10)
		}
	default:
		return fmt.Errorf("cuda: precision %v; it must be f32, bf16 or f16", precision)
	}
	return nil
}

func unload(m cu.Module) error {
	return result("unload a module", C.cuModuleUnload(*(*C.CUmodule)(unsafe.Pointer(&m))))
}

// Usable says what keeps a GPU from being used in any precision, nil if nothing
// does. The error wraps ErrUnusable.
func Usable(info Info) error { return usable(info, device.F32) }
