package cpu

import "golang.org/x/sys/unix"

// adviseHuge asks for large pages; a kernel without them says no, and small
// ones do.
func adviseHuge(p []byte) { _ = unix.Madvise(p, unix.MADV_HUGEPAGE) }
