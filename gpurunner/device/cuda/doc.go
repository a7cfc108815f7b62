// Package cuda is the device of NVIDIA GPUs: device.Device over the CUDA
// driver, through gorgonia.org/cu.
//
// The build tag cuda makes it, with cgo, the driver's header and something to
// link as libcuda (scripts/cuda/fake.sh has both). Without the tag [New] returns
// [ErrNotBuilt], and nothing here needs C. A binary so built runs where
// the driver is, and only there: the loader wants libcuda.so.1. It needs no CUDA
// toolkit.
//
//   - Kernels are CUDA C++ (kernels), compiled ahead of time to the PTX that is
//     embedded; driver 530 is the first to read it. Machine code for known GPUs
//     may lie beside it and is preferred.
//   - Work goes to one stream in the order of the calls. Only Download and Sync
//     wait. What comes again is replayed as CUDA graphs (see queue). Work is cut
//     by shape alone, nothing uses atomics: the same calls give the same bits.
//   - Memory comes from a caching heap over large segments (see heap).
//   - A launch is checked against the signature in the PTX before the driver,
//     which is not told how many arguments there are, sees it.
//
// # Precision
//
// Activations lie in memory as float32. With Options.Precision F32 products are
// fused multiply-adds in float32 and agree with device/cpu within the tolerances
// of parity. With BF16 or F16 the operands of products are rounded to that type
// on their way to the tensor cores, which sum in float32, and frozen weights are
// kept in it; norms, softmax, loss and optimiser stay in float32.
//
// # Failing
//
// Out of memory is an error of one Alloc, or, within an operation or a launch, of
// the next Sync, and the device goes on. A kernel that fails, or a GPU that is gone, poisons the context: every later Sync returns
// [ErrLost], and the process must end.
//
// # Without a GPU
//
// fake holds a libcuda.so.1 for tests, which runs the same kernel sources on the
// processor and checks every access. What it cannot show is speed, and what real
// hardware does differently.
package cuda
