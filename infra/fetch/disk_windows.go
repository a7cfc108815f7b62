package fetch

import (
	"errors"

	"golang.org/x/sys/windows"
)

// diskFull reports whether err says that the disk or quota is used up.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}
