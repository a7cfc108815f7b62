//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device/cuda/kernels"
)

// arg is one argument of a kernel. Package cu copies 8 bytes per argument, and
// the driver takes as many of them as the signature says.
type arg struct {
	bits  uint64
	size  int
	float bool
}

func address(a uint64) arg   { return arg{bits: a, size: 8} }
func count(n int) arg        { return arg{bits: uint64(n), size: 8} }
func number(u uint32) arg    { return arg{bits: uint64(u), size: 4} }
func fraction(f float32) arg { return arg{bits: uint64(math.Float32bits(f)), size: 4, float: true} }

// whole is an int argument; what does not fit is a bug above.
func whole(n int) arg {
	if n != int(int32(n)) {
		panic(fmt.Sprintf("cuda: %d does not fit a kernel's argument", n))
	}
	return arg{bits: uint64(uint32(n)), size: 4}
}

func boolean(b bool) arg {
	if b {
		return whole(1)
	}
	return whole(0)
}

// grid counts blocks.
type grid struct{ x, y, z int }

// line is a grid of blocks of threads over n elements.
func line(n, threads int) grid { return grid{ceil(n, threads), 1, 1} }

func ceil(a, b int) int { return (a + b - 1) / b }

const maxArguments = 96

// library loads modules and finds kernels.
type library struct {
	driver    *driver
	modules   map[string]kernels.Module // by family, for this GPU
	families  map[string]string         // of kernels
	loaded    map[string]cu.Module
	functions map[string]*function
	// loadedFunctions are the same by number.
	loadedFunctions []*function
	machine         func(family string) []byte
}

// function is a kernel that has been loaded.
type function struct {
	name      string
	fn        cu.Function
	signature kernels.Signature
	number    int // in loadedFunctions
	shared    int // bytes of dynamic shared memory it may have
}

func newLibrary(d *driver, capability int) *library {
	l := &library{driver: d, modules: kernels.For(capability), families: map[string]string{},
		loaded: map[string]cu.Module{}, functions: map[string]*function{},
		machine: func(family string) []byte { return kernels.Machine(family, capability) }}
	for family, m := range l.modules {
		for name := range m.Entries {
			l.families[name] = family
		}
	}
	return l
}

// find returns a kernel, loading its module if need be.
func (l *library) find(name string) (*function, error) {
	if f := l.functions[name]; f != nil {
		return f, nil
	}
	family, ok := l.families[name]
	if !ok {
		panic(fmt.Sprintf("cuda: no kernel named %q for this GPU", name))
	}
	module, err := l.load(family)
	if err != nil {
		return nil, err
	}
	defer l.driver.enter()()
	fn, err := module.Function(name)
	if err != nil {
		return nil, explain("find kernel "+name, err)
	}
	f := &function{name: name, fn: fn, signature: l.modules[family].Entries[name], number: len(l.loadedFunctions), shared: 48 << 10}
	l.functions[name] = f
	l.loadedFunctions = append(l.loadedFunctions, f)
	return f, nil
}

// load takes machine code made for exactly this GPU, else PTX, which the driver
// compiles and may keep in a cache of its own.
func (l *library) load(family string) (cu.Module, error) {
	if m, ok := l.loaded[family]; ok {
		return m, nil
	}
	defer l.driver.enter()()
	m, err := cu.Module{}, error(nil)
	code := l.machine(family)
	if code != nil {
		m, err = cu.LoadData(string(code))
	}
	if code == nil || err != nil {
		m, err = cu.LoadData(l.modules[family].PTX)
	}
	if err != nil {
		version, _ := kernels.Version(l.modules[family].PTX)
		return m, fmt.Errorf("%w; its PTX is version %d.%d, which driver 530 (CUDA 12.1) is the first to read",
			explain("load the module "+family, err), version/10, version%10)
	}
	l.loaded[family] = m
	return m, nil
}

// check compares arguments with the kernel's signature.
func (f *function) check(threads int, args []arg) {
	if len(args) != len(f.signature.Params) {
		panic(fmt.Sprintf("cuda: kernel %s takes %d arguments, not %d", f.name, len(f.signature.Params), len(args)))
	}
	for i, p := range f.signature.Params {
		if args[i].size != p.Size || args[i].float != p.Float {
			panic(fmt.Sprintf("cuda: kernel %s, argument %d: %d bytes (float %v), want %d (float %v)",
				f.name, i, args[i].size, args[i].float, p.Size, p.Float))
		}
	}
	if threads > f.signature.Threads {
		panic(fmt.Sprintf("cuda: kernel %s: blocks of %d threads, at most %d", f.name, threads, f.signature.Threads))
	}
}

// slots is memory for the arguments of one launch: package cu reads addresses
// of 8-byte values.
type slots struct {
	values    [maxArguments]uint64
	addresses [maxArguments]unsafe.Pointer
}

func newSlots() *slots {
	s := &slots{}
	for i := range s.values {
		s.addresses[i] = unsafe.Pointer(&s.values[i])
	}
	return s
}

// launch queues a kernel. Nothing is launched on an empty grid, after a failure
// or when the bound context is done.
func (d *Device) launch(name string, g grid, threads int, args ...arg) {
	d.launchShared(name, g, threads, 0, args...)
}

// launchShared is launch with so many bytes of dynamic shared memory.
func (d *Device) launchShared(name string, g grid, threads, shared int, args ...arg) {
	if g.x == 0 || g.y == 0 || g.z == 0 || d.err != nil || d.ctx.Err() != nil {
		return
	}
	if g.y > 65535 || g.z > 65535 || g.x > math.MaxInt32 {
		panic(fmt.Sprintf("cuda: kernel %s: a grid of %d×%d×%d blocks", name, g.x, g.y, g.z))
	}
	f, err := d.library.find(name)
	if err != nil {
		d.fail(err)
		return
	}
	f.check(threads, args)
	if shared > f.shared {
		if err := d.driver.allowShared(f.fn, shared); err != nil {
			d.fail(fmt.Errorf("kernel %s: %w", name, err))
			return
		}
		f.shared = shared
	}
	d.noteLaunch(f, g, threads, shared, args)
}
