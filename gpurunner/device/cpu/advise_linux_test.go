package cpu

import (
	"errors"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// TestMoreThanTheMachineHas: memory that Linux would map, and end the process
// for once it is touched, is refused.
func TestMoreThanTheMachineHas(t *testing.T) {
	if err := room(1 << 50); err == nil {
		t.Skip("this system does not say what memory is left")
	}
	d := newDevice(t, Options{})
	if _, err := d.Alloc(1 << 45); !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("32 TiB: %v, want %v", err, device.ErrOutOfMemory)
	}
	b, err := d.Alloc(128 << 20)
	if err != nil {
		t.Fatal(err)
	}
	d.Release(b)
}
