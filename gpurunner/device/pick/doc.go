// Package pick opens the device that a program is asked for: --device
// auto|cpu|cuda.
//
// The plain build of a program has no C in it and cannot talk to the GPU's
// driver; the build with the tag cuda does not start where there is no driver.
// So the plain one looks for driver and device, asks the CUDA build that lies
// beside it whether it can use the GPU, and, if so, becomes it: [Handover].
// [Open] then opens the device in whichever build it runs.
package pick
