//go:build unix

package safetensors

import (
	"os"

	"golang.org/x/sys/unix"
)

const canForget = true

// mapFile maps size bytes of f for reading. Shared, so that several runners on one machine hold one copy.
func mapFile(f *os.File, size int) ([]byte, func([]byte) error, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	return b, unix.Munmap, err
}

// forget widens the range to whole pages: a neighbour's bytes on the same page come back from the page
// cache when they are next read.
func forget(b []byte, begin, end int) {
	page := os.Getpagesize()
	begin -= begin % page
	_ = unix.Madvise(b[begin:end], unix.MADV_DONTNEED) // a hint: its failure changes no result
}
