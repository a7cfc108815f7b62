//go:build !purego

package kernel

import "syscall"

// permitTiles asks the kernel to let this process use the state of tiles, which
// it saves on signals and switches; it refuses where a signal stack is too
// small. Go's, of 32 KiB, holds what a signal saves with tiles: some 11 KiB.
func permitTiles() bool {
	const archReqXcompPerm, tileData = 0x1023, 18
	_, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archReqXcompPerm, tileData, 0)
	return errno == 0
}
