// Command gpucheck shows on a machine with an NVIDIA GPU what this project claims
// of it: every kernel right beside the processor, then drawing and training at the
// sizes of Stable Diffusion 1.5, 2.1 and XL with random weights, timed, and the
// same in PyTorch where Python has it there.
//
//	scripts/gpucheck/build.sh gpucheck.tar.gz     anywhere: no GPU needed
//	tar xf gpucheck.tar.gz && gpucheck/gpucheck   on the machine with the GPU
//
// It needs the driver and nothing else. Its tables, results.md and results.json,
// belong into docs/gpu. Where a check fails it says so and ends with 1; where a
// part is left out, as PyTorch is without PyTorch, the tables say so too.
//
// The weights are random numbers of the right shapes (models): timings do not
// depend on them, and none is downloaded. -models embedded is the small base that
// the program carries, for trying gpucheck itself on the stand-in for the driver.
package main
