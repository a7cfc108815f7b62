// Package sealed is device/cpu with its memory locked away between calls: a
// stand-in for a GPU in tests. Code above the device that reads or writes
// device memory other than through device.Device stops with a fault, as it
// would not run on a real one.
//
// The lock is page protection, so it needs a unix system; elsewhere only the
// opaque buffer type keeps callers out. Memory is filled with NaN before it is
// handed out and when it comes back.
//
// It is not for use: every call changes the protection of all memory twice.
package sealed
