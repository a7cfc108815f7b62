package safetensors

import (
	"errors"
	"fmt"
)

// FormatError says what is wrong with a file's contents. It is permanent: reading the same bytes again
// gives the same error.
type FormatError struct {
	File   string // the name under which the file was opened
	Tensor string // the tensor at fault, empty where it is the file as a whole
	Reason string // one clause, without a full stop
}

func (e *FormatError) Error() string {
	if e.Tensor == "" {
		return e.File + " is not a valid safetensors file: " + e.Reason
	}
	return fmt.Sprintf("%s is not a valid safetensors file: tensor %q %s", e.File, shorten(e.Tensor), e.Reason)
}

// shorten keeps a hostile name from filling a log.
func shorten(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

// ErrClosed is returned by reads of a tensor whose file has been closed.
var ErrClosed = errors.New("the safetensors file of this tensor has been closed")
