package safetensors

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const canForget = false

// mapFile maps size bytes of f for reading.
func mapFile(f *os.File, size int) ([]byte, func([]byte) error, error) {
	mapping, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READONLY, 0, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	defer windows.CloseHandle(mapping) // a view keeps its mapping
	address, err := windows.MapViewOfFile(mapping, windows.FILE_MAP_READ, 0, 0, uintptr(size))
	if err != nil {
		return nil, nil, err
	}
	// The address is outside the Go heap; reading it back as a pointer this way is what go vet accepts.
	b := unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), size)
	return b, func([]byte) error { return windows.UnmapViewOfFile(address) }, nil
}

func forget([]byte, int, int) {}
