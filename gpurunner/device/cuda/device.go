//go:build cuda

package cuda

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Device runs the engine's kernels on an NVIDIA GPU. It implements
// device.Device.
type Device struct {
	driver  driver
	library *library
	slots   *slots
	info    Info
	options Options

	memory *heap // activations and all else that comes and goes
	frozen *heap // weights
	stats  device.Stats
	stage  stage
	queue  queue
	fault  *buffer // i32 [4]: set, row, rows of an index outside its table

	ctx context.Context
	err error
}

var (
	_ device.Device    = (*Device)(nil)
	_ device.PeakMeter = (*Device)(nil)
	_ device.Stepper   = (*Device)(nil)
	_ device.Trainer   = (*Device)(nil)
)

const segmentBytes = 64 << 20

// New opens a GPU. The error wraps ErrUnusable where it cannot be used.
func New(o Options) (device.Device, error) { return Open(o) }

// Open is New with its own type.
func Open(o Options) (*Device, error) {
	info, gpu, err := probe(o.Ordinal)
	if err != nil {
		return nil, err
	}
	if err := usable(info, o.Precision); err != nil {
		return nil, err
	}
	info.Kernels = "float32 multiply-adds"
	if o.Precision != device.F32 {
		info.Kernels = fmt.Sprintf("tensor cores, %v in and float32 out", o.Precision)
	}
	d := &Device{info: info, options: o, slots: newSlots(), ctx: context.Background()}
	d.driver.gpu = gpu
	if d.driver.context, err = gpu.RetainPrimaryCtx(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, explain("open "+info.Name, err))
	}
	leave := d.driver.enter()
	defer leave()
	if d.driver.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, explain("make a stream", err))
	}
	d.library = newLibrary(&d.driver, info.Capability)
	d.memory = &heap{source: direct{d}, segment: segmentBytes, direct: o.Direct}
	d.frozen = &heap{source: direct{d}, segment: segmentBytes, direct: o.Direct, retired: true}
	if d.fault, err = d.memory.alloc(16); err != nil {
		d.Close()
		return nil, fmt.Errorf("cuda: %w", err)
	}
	d.clearFault()
	return d, nil
}

// Info returns what is known of the GPU.
func (d *Device) Info() Info { return d.info }

// Name implements device.Memory.
func (d *Device) Name() string {
	return fmt.Sprintf("cuda sm_%d %s", d.info.Capability, d.options.Precision)
}

// Close gives everything back. The device and everything it handed out are dead
// afterwards.
func (d *Device) Close() {
	d.flush()
	_ = d.driver.synchronize()
	d.evict(0)
	if d.fault != nil {
		d.memory.release(d.fault)
		d.fault = nil
	}
	d.memory.retire()
	d.frozen.retire()
	d.stage.close(&d.driver)
	leave := d.driver.enter()
	for _, m := range d.library.loaded {
		_ = unload(m)
	}
	_ = d.driver.stream.Destroy()
	leave()
	_ = d.driver.gpu.ReleasePrimaryCtx()
}

// Bind implements device.Memory. Kernels that are queued when ctx ends still
// run; none is launched afterwards.
func (d *Device) Bind(ctx context.Context) { d.ctx = ctx }

// Sync implements device.Memory.
func (d *Device) Sync() error {
	d.flush()
	if err := d.driver.synchronize(); err != nil {
		d.lose(err)
	}
	if d.err == nil {
		d.readFault()
	}
	if err := d.err; err != nil {
		// What is not for ever is reported once: the next job may fit.
		if !errors.Is(err, ErrLost) {
			d.err = nil
		}
		return err
	}
	return d.ctx.Err()
}

// fail keeps the first failure for Sync.
func (d *Device) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// lose keeps a failure of the driver, after which it accepts nothing more, unless
// it wanted memory: a launch may, for what its threads spill, and so may a graph.
func (d *Device) lose(err error) {
	if errors.Is(err, device.ErrOutOfMemory) {
		d.fail(err)
		return
	}
	d.fail(fmt.Errorf("%w (%w)", ErrLost, err))
}

// Alloc implements device.Memory.
func (d *Device) Alloc(size int) (device.Buffer, error) {
	b, err := d.take(d.memory, size)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (d *Device) take(h *heap, size int) (*buffer, error) {
	if d.options.Limit > 0 && d.stats.Live+int64(size) > d.options.Limit {
		return nil, fmt.Errorf("cuda: %w: %s more, %s held of at most %s",
			device.ErrOutOfMemory, mib(int64(size)), mib(d.stats.Live), mib(d.options.Limit))
	}
	b, err := h.alloc(size)
	if errors.Is(err, device.ErrOutOfMemory) && d.memory.trim()+d.frozen.trim() > 0 { // what another heap kept
		b, err = h.alloc(size)
	}
	if errors.Is(err, device.ErrOutOfMemory) {
		return nil, fmt.Errorf("cuda: %w, %s are held by this process on %s",
			err, mib(d.stats.Live), d.info.Name)
	}
	if err != nil {
		d.lose(err)
		return nil, d.err
	}
	d.stats.Live += int64(b.size)
	d.stats.Peak = max(d.stats.Peak, d.stats.Live)
	return b, nil
}

// Release implements device.Memory. Kernels are on one stream, so whoever gets
// the memory next comes after those that still use it.
func (d *Device) Release(b device.Buffer) {
	c, ok := b.(*buffer)
	if !ok || c.owner == d.frozen {
		panic(fmt.Sprintf("cuda: Release of %T, which this device did not allocate", b))
	}
	d.stats.Live -= int64(c.size)
	c.owner.release(c)
}

// Stats implements device.Memory.
func (d *Device) Stats() device.Stats { return d.stats }

// CheckTraining implements device.Trainer: a gradient below 6e-8 is nothing in f16,
// and most are.
func (d *Device) CheckTraining() error {
	if d.options.Precision != device.F16 {
		return nil
	}
	return fmt.Errorf("training in f16 would lose small gradients; use bf16 (compute capability 8.0 and later) or f32 on %s", d.info.Name)
}

// Precision implements device.Precise.
func (d *Device) Precision() device.DType { return d.options.Precision }

// ResetPeak implements device.PeakMeter.
func (d *Device) ResetPeak() { d.stats.Peak = d.stats.Live }

// temp is memory for the length of one call: the caller releases it once its
// kernels are launched. It returns nil after a failure, which Sync reports.
func (d *Device) temp(bytes int) *buffer {
	b, err := d.Alloc(bytes)
	if err != nil {
		d.fail(err)
		return nil
	}
	return b.(*buffer)
}

func (d *Device) clearFault() {
	d.note(opFill32, d.fault.address, 0, 4)
}

// readFault reports a row outside its table, which comes from data.
func (d *Device) readFault() {
	var host [16]byte
	if err := d.stage.down(&d.driver, host[:], d.fault.address); err != nil {
		d.lose(err)
		return
	}
	if binary.LittleEndian.Uint32(host[:]) == 0 {
		return
	}
	d.clearFault()
	d.fail(fmt.Errorf("cuda: row %d of a table of %d rows", int32(binary.LittleEndian.Uint32(host[4:])), int32(binary.LittleEndian.Uint32(host[8:]))))
}
