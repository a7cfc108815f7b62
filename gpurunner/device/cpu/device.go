package cpu

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// Options choose how a Device runs. The zero value is right for use.
type Options struct {
	Threads int    // goroutines that compute, the caller among them; 0: GOMAXPROCS
	Kernels string // instruction set, one of KernelSets; "": the best
	// Precision is that of the operands of products: F32, or BF16 where
	// BF16Sets is not empty.
	Precision device.DType
	BF16      string // of BF16Sets or EmulatedBF16Sets; "": the best of the former
	Pages     Pages  // where memory comes from; nil: Anonymous
	Poison    bool   // for tests: fresh and released memory is filled with NaN
	Limit     int64  // bytes that callers may hold; 0: what the machine has
}

// Device runs the engine's kernels on the processor. Calls are done when they
// return; only failures wait for Sync. It implements device.Device.
type Device struct {
	name    string
	options Options
	kernels *kernel.Set
	pairs   *kernel.Pairs // of the bf16 mode, else nil
	pool    *pool
	memory  *heap // activations and all else that comes and goes
	frozen  *heap // weights
	stats   device.Stats
	err     error
	ctx     context.Context
	unbind  func() bool

	tasks          tasks
	turnedWeight   weight
	unpackedWeight weight
	lowBuffers     []*buffer
}

var (
	_ device.Device   = (*Device)(nil)
	_ device.Separate = (*Device)(nil)
	_ device.Roomy    = (*Device)(nil)
)

// New returns a device. It starts nothing and maps no memory until used.
func New(o Options) (*Device, error) {
	if o.Threads < 0 {
		return nil, fmt.Errorf("cpu: %d threads; it must be 1 or more, or 0 for all", o.Threads)
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Pages == nil {
		o.Pages = Anonymous{}
	}
	set := kernel.Best()
	if o.Kernels != "" {
		if set = kernel.Lookup(o.Kernels); set == nil {
			return nil, fmt.Errorf("cpu: no kernels named %q on this machine; it has %v", o.Kernels, KernelSets())
		}
	}
	pairs, err := pairsFor(o)
	if err != nil {
		return nil, err
	}
	name := "cpu " + set.Name
	if pairs != nil {
		name += " bf16 " + pairs.Name
	}
	d := &Device{
		name:    name,
		kernels: set,
		pairs:   pairs,
		options: o,
		pool:    newPool(o.Threads, o.Pages),
		memory:  &heap{pages: o.Pages, segment: 16 << 20, poison: o.Poison},
		frozen:  &heap{pages: o.Pages, segment: 16 << 20, poison: o.Poison, giveBack: true},
	}
	d.Bind(context.Background())
	return d, nil
}

// Precision implements device.Precise.
func (d *Device) Precision() device.DType { return d.options.Precision }

// KernelSets lists the instruction sets this machine can run, slowest first.
// The environment variable LOWRANK_CPU lowers the default choice.
func KernelSets() (names []string) {
	for _, s := range kernel.All() {
		names = append(names, s.Name)
	}
	return names
}

// Name implements device.Memory.
func (d *Device) Name() string { return d.name }

// Close ends the workers and unmaps all memory. The device and everything it
// handed out are dead afterwards.
func (d *Device) Close() {
	d.unbind()
	d.pool.close()
	d.memory.close()
	d.frozen.close()
}

// Bind implements device.Memory.
func (d *Device) Bind(ctx context.Context) {
	if d.unbind != nil {
		d.unbind()
	}
	// A flag of its own for each binding: an old context that ends late must
	// not stop the new one's work.
	flag := new(atomic.Bool)
	d.pool.canceled = flag
	d.ctx = ctx
	if ctx.Err() != nil {
		flag.Store(true)
	}
	d.unbind = context.AfterFunc(ctx, func() { flag.Store(true) })
}

// Separate implements device.Separate: sums are cut by the number of terms and
// by a picture's size.
func (d *Device) Separate() bool { return true }

// Sync implements device.Memory. Memory that was lacking is told once: what
// needed it is void then, and smaller work may still be done.
func (d *Device) Sync() error {
	if err := d.err; err != nil {
		if errors.Is(err, device.ErrOutOfMemory) {
			d.err = nil
		}
		return err
	}
	return d.ctx.Err()
}

// Room implements device.Roomy.
func (d *Device) Room() (bytes int64, known bool) {
	if d.options.Limit > 0 {
		return d.options.Limit - d.stats.Live, true
	}
	left, known := machineRoom()
	// What the heaps have mapped and nobody holds comes first.
	return left + d.memory.mapped + d.frozen.mapped - d.stats.Live, known
}

// fail keeps the first failure for Sync.
func (d *Device) fail(err error) {
	if d.err == nil {
		d.err = fmt.Errorf("cpu: %w", err)
	}
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
		return nil, fmt.Errorf("cpu: %w: %d bytes more, %d held of at most %d",
			device.ErrOutOfMemory, size, d.stats.Live, d.options.Limit)
	}
	b, err := h.alloc(size)
	if err != nil {
		return nil, fmt.Errorf("cpu: %w", err)
	}
	d.stats.Live += int64(b.Size())
	d.stats.Peak = max(d.stats.Peak, d.stats.Live)
	return b, nil
}

// Release implements device.Memory.
func (d *Device) Release(b device.Buffer) {
	c, ok := b.(*buffer)
	if !ok || c.owner != d.memory {
		panic(fmt.Sprintf("cpu: Release of %T, which this device did not allocate", b))
	}
	d.stats.Live -= int64(c.Size())
	d.memory.free(c)
}

// Stats implements device.Memory.
func (d *Device) Stats() device.Stats { return d.stats }

// temp is memory for the length of one call. It returns nil after a failure,
// which Sync reports.
func (d *Device) temp(floats int) (*buffer, []float32) {
	b, err := d.take(d.memory, floats*4)
	if err != nil {
		d.fail(err)
		return nil, nil
	}
	return b, floatsOf(b.mem)[:floats]
}

// scratch makes sure that each worker has n floats to itself.
func (d *Device) scratch(n int) bool {
	if err := d.pool.reserve(n); err != nil {
		d.fail(fmt.Errorf("%w: scratch of %d bytes for %d workers: %v",
			device.ErrOutOfMemory, n*4, len(d.pool.workers), err))
		return false
	}
	return true
}

func (d *Device) fork(t task, chunks, cost int) { d.pool.fork(t, chunks, cost) }

// tasks holds the arguments of each operation's chunks, so that no call
// allocates. A Device is used by one goroutine at a time.
type tasks struct {
	product       product
	conv          conv
	convGrad      convGrad
	upsample      upsample
	repack        repack
	unpack        unpack
	pairPack      pairPack
	pairProduct   pairProduct
	pairHeads     pairHeads
	pairAttention pairAttention
	turnPairs     turnPairs
	packHeads     packHeads
	attention     attention
	attentionBack attentionBack
	groupNorm     groupNorm
	layerNorm     layerNorm
	mapped        mapped
	rowwise       rowwise
	columnSum     columnSum
	cast          cast
	loss          loss
	sumSquares    sumSquares
	adamW         adamW
	normal        normal
}
