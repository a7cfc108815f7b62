// Package tensor gives device memory a shape and an owner count.
//
// A [Tensor] is a contiguous array of elements on a device, channels last: a
// picture is [N,H,W,C], tokens are [N,T,C], so that going from convolution to
// attention is a reshape. Tensors come from a [Pool]; whoever holds one
// releases it once, and views share the count of what they look at. A pool
// knows all its live tensors, so that work that was broken off can be undone
// with [Pool.ReleaseSince].
//
// The package does no arithmetic: that is autodiff's, on the device.
package tensor
