package sealed

import (
	"context"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
)

// Device is a cpu.Device whose memory is readable only during its calls.
type Device struct {
	cpu   *cpu.Device
	pages *pages
}

var (
	_ device.Device   = (*Device)(nil)
	_ device.Separate = (*Device)(nil)
)

// New returns a sealed device. Options.Pages and Options.Poison are replaced.
func New(o cpu.Options) (*Device, error) {
	p := newPages()
	o.Pages, o.Poison = p, true
	c, err := cpu.New(o)
	if err != nil {
		return nil, err
	}
	return &Device{cpu: c, pages: p}, nil
}

// open unlocks the memory until the function it returns is called.
func (d *Device) open() (lock func()) {
	d.pages.unlock()
	return d.pages.lock
}

// Close gives everything back. The device and its buffers are dead then.
func (d *Device) Close() { defer d.open()(); d.cpu.Close() }

// Name implements device.Memory.
func (d *Device) Name() string { return "sealed " + d.cpu.Name() }

// Bind implements device.Memory.
func (d *Device) Bind(ctx context.Context) { d.cpu.Bind(ctx) }

// Alloc implements device.Memory.
func (d *Device) Alloc(size int) (device.Buffer, error) { defer d.open()(); return d.cpu.Alloc(size) }

// Release implements device.Memory.
func (d *Device) Release(b device.Buffer) { defer d.open()(); d.cpu.Release(b) }

// Upload implements device.Memory.
func (d *Device) Upload(dst device.Array, host []byte) { defer d.open()(); d.cpu.Upload(dst, host) }

// Download implements device.Memory.
func (d *Device) Download(host []byte, src device.Array) { defer d.open()(); d.cpu.Download(host, src) }

// Copy implements device.Memory.
func (d *Device) Copy(dst, src device.Array) { defer d.open()(); d.cpu.Copy(dst, src) }

// Fill implements device.Memory.
func (d *Device) Fill(dst device.Array, v float32) { defer d.open()(); d.cpu.Fill(dst, v) }

// Freeze implements device.Memory.
func (d *Device) Freeze(w device.HostWeight) (device.Weight, error) {
	defer d.open()()
	return d.cpu.Freeze(w)
}

// Repack implements device.Memory.
func (d *Device) Repack(w device.Weight, src device.Array) { defer d.open()(); d.cpu.Repack(w, src) }

// Thaw implements device.Memory.
func (d *Device) Thaw(w device.Weight) { defer d.open()(); d.cpu.Thaw(w) }

// Sync implements device.Memory.
func (d *Device) Sync() error { return d.cpu.Sync() }

// Separate implements device.Separate.
func (d *Device) Separate() bool { return d.cpu.Separate() }

// Stats implements device.Memory.
func (d *Device) Stats() device.Stats { return d.cpu.Stats() }
