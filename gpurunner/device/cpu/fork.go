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
	tile    kernel.Tile
	grid    grid
	norm    kernel.ColumnNorm
	terms   []kernel.Term
	three   [3]kernel.Term
	wake    chan struct{}
	parked  atomic.Bool
}

// pool runs tasks on lasting workers.
//
// The caller publishes a task by storing its number of chunks in left; whoever
// takes left below its value and finds it not negative owns a chunk, and the
// task stays published until every owned chunk is done. A worker that comes
// late finds left negative and has touched nothing.
type pool struct {
	workers []*worker
	pages   Pages

	task   task
	chunks int
	epoch  uint64 // of the task
	left   atomic.Int64
	_      [48]byte // done is written by all, left too: on lines of their own
	done   atomic.Int64
	_      [48]byte

	canceled *atomic.Bool
	closed   atomic.Bool
	started  bool
	finished sync.WaitGroup
}

// forkCost is the work, in multiply-adds or elements moved, below which sharing
// it with workers that still spin takes longer than doing it.
const forkCost = 1 << 17

// spin is how long a worker without work waits before it parks: longer than most
// runs of small operations between large ones, for waking a parked one takes tens
// of microseconds.
const spin = 200 * time.Microsecond

func newPool(threads int, pages Pages) *pool {
	p := &pool{pages: pages}
	for range max(threads, 1) {
		p.workers = append(p.workers, &worker{wake: make(chan struct{}, 1)})
	}
	p.left.Store(-1)
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
	p.left.Store(int64(chunks))
	for i, o := range p.workers[1:] {
		if i+1 >= chunks {
			break
		}
		if o.parked.Load() && o.parked.CompareAndSwap(true, false) {
			o.wake <- struct{}{}
		}
	}
	p.work(w)
	for n := 0; p.done.Load() < int64(chunks); n++ {
		if n > 1000 {
			runtime.Gosched()
		}
	}
}

// work takes chunks until none is left and reports whether it got any.
func (p *pool) work(w *worker) bool {
	n := int64(0)
	for {
		k := p.left.Add(-1)
		if k < 0 {
			break
		}
		t, c := p.task, p.chunks-1-int(k)
		if !p.canceled.Load() {
			t.run(w, c)
		}
		p.done.Add(1)
		n++
	}
	return n > 0
}

func (p *pool) start() {
	p.started = true
	for _, w := range p.workers[1:] {
		p.finished.Add(1)
		go p.loop(w)
	}
}

func (p *pool) loop(w *worker) {
	defer p.finished.Done()
	for !p.closed.Load() {
		if p.left.Load() > 0 && p.work(w) {
			continue
		}
		idle := time.Now()
		for n := 1; p.left.Load() <= 0 && time.Since(idle) < spin; n++ {
		}
		if p.left.Load() > 0 {
			continue
		}
		w.parked.Store(true)
		// The caller may have published before it could see us parked.
		if (p.left.Load() > 0 || p.closed.Load()) && w.parked.CompareAndSwap(true, false) {
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
