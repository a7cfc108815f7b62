package diffusion_test

import (
	"errors"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Wherever a device's memory ends, in a packed weight or in one that kernels read as
// it is, the error names the network, and nothing of it stays behind.
func TestErrTooLarge(t *testing.T) {
	files := enginetest.Base(t, paritytest.Roots(t)[0].Path("models/sd15-tiny"))
	open := func(limit int64) (*diffusion.Model, *cpu.Device) {
		dev, err := cpu.New(cpu.Options{Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(dev.Close)
		m, err := diffusion.Open(tensor.NewPool(dev), files)
		if err != nil {
			t.Fatal(err)
		}
		return m, dev
	}
	whole, dev := open(0)
	if _, err := whole.UNet(); err != nil {
		t.Fatal(err)
	}
	size := dev.Stats().Live
	whole.Release()
	const cuts = 97
	refused := 0
	for i := range int64(cuts) {
		m, dev := open(1 + size*i/cuts)
		_, err := m.UNet()
		var large *diffusion.TooLargeError
		if err == nil {
			m.Release()
			continue
		}
		refused++
		if !errors.As(err, &large) || large.Part != "unet" || !errors.Is(err, device.ErrOutOfMemory) {
			t.Fatalf("with %d of %d bytes: %v", 1+size*i/cuts, size, err)
		}
		if live := dev.Stats().Live; live != 0 || m.Pool.Live() != 0 {
			t.Fatalf("with %d of %d bytes: %d bytes and %d tensors stay", 1+size*i/cuts, size, live, m.Pool.Live())
		}
	}
	if refused < cuts*9/10 {
		t.Errorf("%d of %d limits were too small", refused, cuts)
	}
}
