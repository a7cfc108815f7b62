// Package device says what a machine can do for the engine: a closed list of
// kernels over memory that only the device can touch.
//
// Everything above this package (tensor, autodiff, nn, the models, training)
// is written against [Device] and runs unchanged on every implementation:
//
//   - device/cpu: Go with assembly kernels, on every machine;
//   - device/sealed: device/cpu with its memory unreadable between calls, for
//     tests that no code above reaches around the interface;
//   - device/cuda: NVIDIA GPUs, build tag cuda.
//
// # Words
//
// A [Buffer] is device memory; its contents move only by Upload, Download and
// Copy. An [Array] is a run of elements in a buffer, a [Matrix] a view of rows
// with a stride, columns contiguous. There are no other strides: pictures are
// [N,H,W,C] and tokens [N,T,C], so every operation sees rows of channels.
//
// A [Weight] is a frozen matrix or convolution kernel in the device's own
// layout and in the type in which it was stored: the one resident copy.
//
// # Contract
//
// Calls are asynchronous: only Download and Sync wait. Upload has copied its
// source when it returns. A failure of the device is sticky and comes out of
// Sync. Wrong shapes are bugs of the caller and panic; what comes from files is
// checked when it is loaded, as errors.
//
// Results are a function of the arguments alone: how work is cut depends on
// shapes, never on the number of workers, so one instruction set gives the same
// bits for any GOMAXPROCS. A [Separate] device promises the same of a sample
// whatever is beside it in a batch.
//
// A Device is used by one goroutine at a time.
package device
