//go:build unix

package kernel

import "syscall"

// interrupt sends this process the signal by which the runtime preempts.
func interrupt() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGURG) }
