// Package devicetest is the conformance suite of device.Device: every
// implementation runs it in a test of a few lines, see [Run].
//
// Each operation is compared with a straightforward float64 reference written
// here, each backward operation with central differences of that reference, at
// odd shapes, with one element and, where allowed, none. All outputs start as
// NaN, so that reading what must not be read shows, and lie between guard
// elements, so that writing too far does. [Digests] serves tests that two
// configurations give the same bits.
//
// It is not a test of speed, and knows nothing of how a device works.
package devicetest
