package cuda

import (
	"errors"

	"github.com/lowrank/lowrank/gpurunner/device"
)

var (
	// ErrNotBuilt is what New returns in a binary without the build tag cuda.
	ErrNotBuilt = errors.New("cuda: this binary was built without CUDA; use gpurunner-cuda, or --device cpu")
	// ErrLost is wrapped by errors after which the process must end: a kernel
	// failed or the GPU is gone, and the driver accepts nothing more.
	ErrLost error = lostError{}
	// ErrUnusable is wrapped by New where there is no GPU, or none that can be
	// used.
	ErrUnusable = errors.New("cuda: no usable GPU")
)

// lostError wraps device.ErrLost without its words.
type lostError struct{}

func (lostError) Error() string {
	return "cuda: the GPU no longer answers; end this process and start another"
}

func (lostError) Unwrap() error { return device.ErrLost }

// MinDriver is the lowest version of the driver's CUDA interface, 12010 for
// 12.1 (driver 530), that reads the embedded PTX.
const MinDriver = 12010

// MinCapability is the lowest compute capability, ten times, that the kernels
// are built for: Turing.
const MinCapability = 75

// Options choose how a device runs. The zero value is the first GPU in float32.
type Options struct {
	Ordinal int // of the GPU, as CUDA_VISIBLE_DEVICES leaves them
	// Precision is that of the operands of products: F32, BF16 (from compute
	// capability 8.0) or F16.
	Precision device.DType
	Limit     int64 // bytes that callers may hold; 0: what the GPU has
	// Direct, for tests, makes every Alloc an allocation of the driver's, so that
	// the fake driver sees each buffer's bounds and end.
	Direct bool
}

// Info describes a GPU and what the device chose for it.
type Info struct {
	Name           string
	Capability     int // ten times the compute capability: 89 for 8.9
	Driver         int // version of the driver's CUDA interface: 12040 for 12.4
	Memory, Free   int64
	Processors     int    // streaming multiprocessors
	SharedMemory   int    // bytes a block may have
	ClockKHz       int    // of the processors
	MemoryClockKHz int    // of the memory
	BusBits        int    // of the memory
	PTX            string // version of the embedded PTX
	MachineCode    bool   // modules compiled for such a GPU are embedded
	Kernels        string // what products run on
}
