//go:build unix

package fetch

import (
	"errors"
	"syscall"
)

// diskFull reports whether err says that the disk or quota is used up.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
