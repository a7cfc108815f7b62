//go:build cuda

package cuda

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/devicetest"
)

// open returns a device for tests: each buffer an allocation of its own.
func open(t *testing.T, o Options) *Device {
	t.Helper()
	o.Direct = true
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDevice(t *testing.T) {
	devicetest.Run(t, func() device.Device { return open(t, Options{}) })
}
