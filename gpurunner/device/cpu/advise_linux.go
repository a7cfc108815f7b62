package cpu

import (
	"bufio"
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// adviseHuge asks for large pages; a kernel without them says no, and small
// ones do.
func adviseHuge(p []byte) { _ = unix.Madvise(p, unix.MADV_HUGEPAGE) }

// machineRoom is what the machine has left, swap space with it.
func machineRoom() (left int64, known bool) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			left, known = left+kib<<10, true
		} else if n, _ := fmt.Sscanf(lines.Text(), "SwapFree: %d kB", &kib); n == 1 {
			left += kib << 10
		}
	}
	return left, known
}
