//go:build unix

package pick

import "syscall"

// replace makes this process the program binary. It returns only on failure.
func replace(binary string, args, env []string) error { return syscall.Exec(binary, args, env) }
