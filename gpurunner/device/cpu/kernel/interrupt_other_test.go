//go:build !unix

package kernel

import "runtime"

// interrupt makes the runtime preempt.
func interrupt() { runtime.GC() }
