//go:build !cuda

package cuda

import (
	"io"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// New returns ErrNotBuilt.
func New(Options) (device.Device, error) { return nil, ErrNotBuilt }

// Probe returns ErrNotBuilt.
func Probe(int) (Info, error) { return Info{}, ErrNotBuilt }

// Doctor returns ErrNotBuilt.
func Doctor(io.Writer, Options) error { return ErrNotBuilt }
