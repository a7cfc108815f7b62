package tensor

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Pool allocates the tensors of one device. It is used by one goroutine.
type Pool struct {
	Device device.Device

	live []*storage
	next uint64
}

// storage is the memory that tensors share.
type storage struct {
	pool *Pool
	buf  device.Buffer
	refs int
	slot int    // index in pool.live
	seq  uint64 // order of creation
	// undone marks memory that ReleaseSince took from its holders, whose own
	// Release then means nothing.
	undone bool
	kept   bool // see Tensor.Keep
}

// NewPool returns a pool over dev.
func NewPool(dev device.Device) *Pool { return &Pool{Device: dev} }

// Failure is what an allocation that the device refuses panics with; the
// outermost caller ([Pool.Try], autodiff.Run) turns it into an error.
type Failure struct{ Err error }

func (f Failure) Error() string { return f.Err.Error() }

// Unwrap returns the device's error.
func (f Failure) Unwrap() error { return f.Err }

// New returns a tensor with undefined contents. It panics with a [Failure]
// when the device has no memory.
func (p *Pool) New(t device.DType, shape ...int) *Tensor {
	n := elements(shape)
	buf, err := p.Device.Alloc(n * t.Size())
	if err != nil {
		panic(Failure{fmt.Errorf("tensor %v of %s: %w", shape, t, err)})
	}
	s := &storage{pool: p, buf: buf, refs: 1, slot: len(p.live), seq: p.next}
	p.next++
	p.live = append(p.live, s)
	return &Tensor{
		store: s,
		Shape: append([]int(nil), shape...),
		Data:  device.Array{Buf: buf, Len: n, Type: t},
	}
}

// Live is the number of tensors' memories that are held.
func (p *Pool) Live() int { return len(p.live) }

// Mark names this moment for ReleaseSince.
func (p *Pool) Mark() uint64 { return p.next }

// ReleaseSince gives back everything that was allocated since mark and not
// kept, however often it is held. It is for work that was broken off in the middle.
func (p *Pool) ReleaseSince(mark uint64) {
	for i := len(p.live) - 1; i >= 0; i-- {
		if s := p.live[i]; s.seq >= mark && !s.kept {
			s.refs, s.undone = 0, true
			s.free()
		}
	}
}

// Try runs f. A Failure that it panics with is its error, and what was allocated
// since and not kept is given back.
func (p *Pool) Try(f func() error) (err error) {
	mark := p.Mark()
	defer func() {
		switch r := recover().(type) {
		case nil:
		case Failure:
			_ = p.Device.Sync() // queued kernels must be done with the memory before it goes back
			p.ReleaseSince(mark)
			err = r.Err
		default:
			panic(r)
		}
	}()
	return f()
}

func (s *storage) free() {
	p := s.pool
	last := p.live[len(p.live)-1]
	p.live[s.slot] = last
	last.slot = s.slot
	p.live = p.live[:len(p.live)-1]
	p.Device.Release(s.buf)
	s.buf = nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		if d < 0 {
			panic(fmt.Sprintf("tensor: negative dimension in shape %v", shape))
		}
		n *= d
	}
	return n
}
