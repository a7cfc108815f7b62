// Package container is the command that the container runs: jobs of a deployment
// on AWS, on a GPU where there is one, and doctor, which says what there is.
//
// It is a package rather than a main because two programs have it: gpurunner,
// static, and gpurunner-cuda, which that one becomes where the GPU's driver is
// (device/pick).
package container
