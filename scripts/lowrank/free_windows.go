package main

import "golang.org/x/sys/windows"

// freeBytes is what may still be written to the disk that a folder is on.
func freeBytes(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var n uint64
	err = windows.GetDiskFreeSpaceEx(path, &n, nil, nil)
	return int64(n), err
}
