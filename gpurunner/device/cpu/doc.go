// Package cpu is the device that every machine has: device.Device in Go over
// the micro-kernels of package kernel.
//
// It decides where memory lies, how work is cut and in what order parts are
// summed; the arithmetic is package kernel's.
//
//   - Memory comes from mapped pages outside the Go heap (see Pages, heap).
//   - Work is forked over lasting goroutines in chunks whose number and
//     content depend on shapes alone (see pool), so results have the same bits
//     for any number of threads.
//   - Frozen weights are kept once, in panels, in the type they were stored in
//     (see weight). Backward transposes blocks of the same panels as it goes.
//   - Linear layers, products of live matrices and convolutions are one blocked
//     product (see Device.multiply) over different rows and panels.
//
// Operands are f32; the half types are for storage: frozen weights, and Cast,
// Copy, CopyRows, Fill and Gather.
//
// What it is not: it knows nothing of layers, tapes or models, and is no
// general tensor library.
package cpu
