package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// task is work cut into numbered chunks that may run at the same time, in any
// order. How many there are depends on shapes alone.
type task interface {
	run(w *worker, chunk int)
}

// worker is one of the goroutines that run chunks; number 0 is the caller.
type worker struct {
	scratch []float32
	epoch   uint64 // what scratch holds from an earlier chunk, see holds
	part    int
	segs    []kernel.Segment
	lows    []low
	tile    kernel.Tile
	grid    grid
	norm    kernel.ColumnNorm
	terms   []kernel.Term
	three   [3]kernel.Term
	wake    chan struct{}
	parked  atomic.Bool

	_    [64]byte // a line that only thieves contend for
	left atomic.Int64
	_    [64]byte
}

// pool runs tasks on lasting workers.
//
// Each worker owns an even range of a task's chunks, the same part of the work
// in every task: what it wrote is likely what it reads next, and on machines
// whose cores are far apart the lines of a picture stay with their core. Who
// has finished its own takes from the others' ranges.
//
// The caller publishes a task by storing the size of each range in its
// worker's left; whoever takes left below its value and finds it not negative
// owns a chunk, and the task stays published until every owned chunk is done.
// Who comes late finds left negative and has touched nothing.
type pool struct {
	workers []*worker
	pages   Pages

	task   task
	chunks int
	epoch  uint64 // of the task
	_      [64]byte
	done   atomic.Int64
	_      [64]byte

	canceled *atomic.Bool
	closed   atomic.Bool
	started  bool
	finished sync.WaitGroup
}

// forkCost is the work, in multiply-adds, below which sharing it with workers
// that still spin takes longer than doing it.
const forkCost = 1 << 17

// moved is how many multiply-adds take as long as reading or writing an element.
const moved = 4

// spin is how long a worker without work waits before it parks: longer than most
// runs of small operations between large ones, for waking a parked one takes tens
// of microseconds.
const spin = 200 * time.Microsecond

func newPool(threads int, pages Pages) *pool {
	p := &pool{pages: pages}
	for range max(threads, 1) {
		w := &worker{wake: make(chan struct{}, 1)}
		w.left.Store(-1)
		p.workers = append(p.workers, w)
	}
	return p
}

// fork runs all chunks of t and returns when they are done. cost is the whole
// task's work.
func (p *pool) fork(t task, chunks, cost int) {
	w := p.workers[0]
	p.epoch++
	if chunks < 2 || cost < forkCost || len(p.workers) == 1 {
		for c := range chunks {
			if p.canceled.Load() {
				return
			}
			t.run(w, c)
		}
		return
	}
	if !p.started {
		p.start()
	}
	p.task, p.chunks = t, chunks
	p.done.Store(0)
	for i, o := range p.workers {
		first, end := p.share(i)
		if first == end {
			continue
		}
		o.left.Store(int64(end - first))
		if o.parked.Load() && o.parked.CompareAndSwap(true, false) {
			o.wake <- struct{}{}
		}
	}
	p.work(0)
	for n := 0; p.done.Load() < int64(chunks); n++ {
		if n > 1000 {
			runtime.Gosched()
		}
	}
}

// wantChunks is how many chunks products are cut into, if their shape gives as
// many: a few for each worker, as more would each read or unpack the same again.
// The bits of a product do not show how it was cut.
func (d *Device) wantChunks() int {
	if n := len(d.pool.workers); n > 1 {
		return 4 * n
	}
	return 1
}

// evenBlock is the size of blocks of up to most of n rows, as many for each
// worker: then all tasks over these rows share them out at the same row.
func (d *Device) evenBlock(n, most int) int {
	if n == 0 {
		return 1
	}
	return ceil(n, min(n, roundUp(ceil(n, max(most, 1)), len(d.pool.workers))))
}

// share is the range of the task's chunks that worker number i owns.
func (p *pool) share(i int) (first, end int) {
	return i * p.chunks / len(p.workers), (i + 1) * p.chunks / len(p.workers)
}

// work runs chunks, worker i's own first, until none is left.
func (p *pool) work(i int) {
	n := int64(0)
	for j := range p.workers {
		owner := (i + j) % len(p.workers)
		left := &p.workers[owner].left
		for left.Load() > 0 {
			k := left.Add(-1)
			if k < 0 {
				break
			}
			_, end := p.share(owner)
			if !p.canceled.Load() {
				p.task.run(p.workers[i], end-1-int(k))
			}
			n++
		}
	}
	if n > 0 {
		p.done.Add(n)
	}
}

func (p *pool) start() {
	p.started = true
	for i := range p.workers[1:] {
		p.finished.Add(1)
		go p.loop(i + 1)
	}
}

func (p *pool) loop(i int) {
	defer p.finished.Done()
	w := p.workers[i]
	for !p.closed.Load() {
		if w.left.Load() > 0 {
			p.work(i)
			continue
		}
		idle := time.Now()
		for n := 1; w.left.Load() <= 0 && time.Since(idle) < spin; n++ {
		}
		if w.left.Load() > 0 {
			continue
		}
		w.parked.Store(true)
		// The caller may have published before it could see us parked.
		if (w.left.Load() > 0 || p.closed.Load()) && w.parked.CompareAndSwap(true, false) {
			continue
		}
		<-w.wake
	}
}

// close ends the workers. No task may run.
func (p *pool) close() {
	p.closed.Store(true)
	for _, w := range p.workers {
		if w.parked.CompareAndSwap(true, false) {
			w.wake <- struct{}{}
		}
	}
	p.finished.Wait()
	for _, w := range p.workers {
		p.drop(w)
	}
}

func (p *pool) drop(w *worker) {
	if w.scratch != nil {
		p.pages.Unmap(bytesOf(w.scratch))
		w.scratch = nil
	}
}

// reserve makes sure that every worker has scratch for n floats.
func (p *pool) reserve(n int) error {
	if len(p.workers[0].scratch) >= n {
		return nil
	}
	size := roundUp(n*4, hugePage)
	for _, w := range p.workers {
		p.drop(w)
		m, err := p.pages.Map(size)
		if err != nil {
			for _, w := range p.workers { // all or none: the next call looks at the first alone
				p.drop(w)
			}
			return err
		}
		w.scratch = floatsOf(m)
	}
	return nil
}

// holds reports whether w's scratch holds part already, left there by an
// earlier chunk of the same task, and notes that it will.
func (p *pool) holds(w *worker, part int) bool {
	if w.epoch == p.epoch && w.part == part {
		return true
	}
	w.epoch, w.part = p.epoch, part
	return false
}

func bytesOf(f []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(f))), len(f)*4)
}

func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}
