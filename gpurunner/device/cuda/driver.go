//go:build cuda

package cuda

// The driver's calls that gorgonia.org/cu lacks: pinned memory, function
// attributes, stream capture and graphs, error texts.

// #include <cuda.h>
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// driver is a context, its stream, and the calls on them. Each call makes the
// context current on the thread that it finds itself on, so that goroutines may
// move between threads.
type driver struct {
	gpu     cu.Device
	context cu.CUContext
	stream  cu.Stream
}

// enter makes the context current until the function returned is called.
func (d *driver) enter() func() {
	runtime.LockOSThread()
	// A failure shows in the call that follows.
	_ = cu.SetCurrentContext(d.context)
	return runtime.UnlockOSThread
}

// code returns the driver's number of an error of package cu.
func code(err error) int {
	for known, number := range map[error]int{
		cu.OutOfMemory:    C.CUDA_ERROR_OUT_OF_MEMORY,
		cu.InvalidValue:   C.CUDA_ERROR_INVALID_VALUE,
		cu.IllegalAddress: C.CUDA_ERROR_ILLEGAL_ADDRESS,
		cu.LaunchFailed:   C.CUDA_ERROR_LAUNCH_FAILED,
	} {
		if err == known {
			return number
		}
	}
	return 0
}

// explain says what the driver says of an error of package cu.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if n := code(err); n != 0 {
		return result(what, C.CUresult(n))
	}
	return fmt.Errorf("cuda: %s: %w", what, err)
}

// driverError is a result of one of the calls here.
type driverError struct {
	what string
	code C.CUresult
}

func (e *driverError) Error() string {
	var name, text *C.char
	C.cuGetErrorName(e.code, &name)
	C.cuGetErrorString(e.code, &text)
	if name == nil || text == nil {
		return fmt.Sprintf("cuda: %s: error %d", e.what, int(e.code))
	}
	return fmt.Sprintf("cuda: %s: %s (%s, error %d)", e.what, C.GoString(text), C.GoString(name), int(e.code))
}

// Is makes the driver's running out of memory device.ErrOutOfMemory: it poisons
// nothing.
func (e *driverError) Is(target error) bool {
	return target == device.ErrOutOfMemory && e.code == C.CUDA_ERROR_OUT_OF_MEMORY
}

func result(what string, r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return &driverError{what, r}
}

// reserve implements memorySource.
func (d *driver) reserve(size int) (uint64, error) {
	defer d.enter()()
	p, err := cu.MemAlloc(int64(size))
	if err == nil {
		return uint64(p), nil
	}
	if !errors.Is(err, cu.OutOfMemory) {
		return 0, explain("reserve memory", err)
	}
	free, total, _ := cu.MemInfo()
	return 0, fmt.Errorf("%w: %s more, %s of the GPU's %s are free", device.ErrOutOfMemory, mib(int64(size)), mib(free), mib(total))
}

// giveBack implements memorySource.
func (d *driver) giveBack(address uint64) {
	defer d.enter()()
	// What fails here has failed before, and came out of Sync.
	_ = cu.MemFree(cu.DevicePtr(address))
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// pinned returns page-locked host memory, for asynchronous copies.
func (d *driver) pinned(size int) ([]byte, error) {
	defer d.enter()()
	var p unsafe.Pointer
	if r := C.cuMemHostAlloc(&p, C.size_t(size), 0); r != C.CUDA_SUCCESS {
		return nil, result("reserve pinned memory", r)
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func (d *driver) freePinned(b []byte) {
	defer d.enter()()
	_ = cu.MemFreeHost(unsafe.Pointer(unsafe.SliceData(b)))
}

// allowShared lets a kernel have so many bytes of dynamic shared memory.
func (d *driver) allowShared(f cu.Function, bytes int) error {
	defer d.enter()()
	return result("ask for shared memory", C.cuFuncSetAttribute(rawFunction(f), C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, C.int(bytes)))
}

// rawFunction reads the handle that package cu keeps to itself: its Function
// is that handle and nothing else.
func rawFunction(f cu.Function) C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f)) }

func (d *driver) rawStream() C.CUstream { return C.CUstream(unsafe.Pointer(d.stream.C())) }

// synchronize waits for everything on the stream.
func (d *driver) synchronize() error {
	defer d.enter()()
	return explain("wait for the GPU", d.stream.Synchronize())
}

// graph is captured work, ready to run again.
type graph struct {
	exec  C.CUgraphExec
	nodes int
}

func (d *driver) beginCapture() error {
	defer d.enter()()
	return result("begin a recording", C.cuStreamBeginCapture(d.rawStream(), C.CU_STREAM_CAPTURE_MODE_RELAXED))
}

func (d *driver) endCapture() (*graph, error) {
	defer d.enter()()
	var g C.CUgraph
	if r := C.cuStreamEndCapture(d.rawStream(), &g); r != C.CUDA_SUCCESS {
		return nil, result("end a recording", r)
	}
	defer C.cuGraphDestroy(g)
	var nodes C.size_t
	if r := C.cuGraphGetNodes(g, nil, &nodes); r != C.CUDA_SUCCESS {
		return nil, result("count a recording", r)
	}
	out := &graph{nodes: int(nodes)}
	return out, result("prepare a recording", C.cuGraphInstantiateWithFlags(&out.exec, g, 0))
}

func (d *driver) launchGraph(g *graph) error {
	defer d.enter()()
	return result("replay a recording", C.cuGraphLaunch(g.exec, d.rawStream()))
}

// event is a place in the stream.
type event struct{ e C.CUevent }

func (d *driver) newEvent() (event, error) {
	defer d.enter()()
	var e event
	return e, result("make an event", C.cuEventCreate(&e.e, C.CU_EVENT_DISABLE_TIMING))
}

func (d *driver) destroyEvent(e event) {
	defer d.enter()()
	C.cuEventDestroy(e.e)
}

// record puts an event behind all that is on the stream.
func (d *driver) record(e event) error {
	defer d.enter()()
	return result("record an event", C.cuEventRecord(e.e, d.rawStream()))
}

// wait waits until the GPU has passed an event.
func (d *driver) wait(e event) error {
	defer d.enter()()
	return result("wait for the GPU", C.cuEventSynchronize(e.e))
}

func (d *driver) destroyGraph(g *graph) {
	defer d.enter()()
	C.cuGraphExecDestroy(g.exec)
}
