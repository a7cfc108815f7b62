//go:build unix

package cpu

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Anonymous is memory mapped from nowhere, in large pages where the system
// has them.
type Anonymous struct{}

var _ Pages = Anonymous{}

// Map implements Pages.
func (Anonymous) Map(size int) ([]byte, error) {
	const large = 64 << 20 // smaller pieces come often and do not decide
	if size >= large {
		if err := room(size); err != nil {
			return nil, err
		}
	}
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	if size >= hugePage {
		adviseHuge(p)
	}
	return p, nil
}

// room refuses more memory than the machine has left, where that is known. Linux
// maps more than it has and ends some process when the pages are touched: an
// error in time is better.
func room(size int) error {
	if left, known := machineRoom(); known && int64(size) > left {
		return fmt.Errorf("the machine has %d bytes left", left)
	}
	return nil
}

// Unmap implements Pages.
func (Anonymous) Unmap(p []byte) {
	if err := unix.Munmap(p); err != nil {
		panic("cpu: unmap: " + err.Error())
	}
}
