// Package autodiff runs the engine's operations and, when asked, remembers
// them on a tape to send gradients back.
//
// A model's forward pass is written once, as method calls on a [Pass]. A pass
// without a tape is inference: operations keep nothing. A pass with one
// records each operation of which some input needs a gradient, and saves what
// its backward side reads; [Pass.Backward] then walks the tape from its end.
// Each file here is one operation, forward and backward side by side, both of
// them calls of the device's kernels.
//
// # Ownership
//
// An operation returns a [Value] that its caller holds and releases once with
// [Value.Release]; the tape holds what it saves by itself. Operations never
// take over their arguments.
//
// # Freezing
//
// A value needs a gradient when it is a trained [Parameter] or computed from
// one. An operation on values that need none is not recorded, so everything
// before the first adapter costs nothing in training. Gradients are f32.
//
// # Failing
//
// Wrong shapes are bugs and panic. A done context and a device out of memory
// unwind to [Run], which returns them as errors and gives back the memory of
// what was broken off.
package autodiff
