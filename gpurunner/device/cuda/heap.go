package cuda

import (
	"fmt"
	"slices"
	"sort"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// memorySource gives out large pieces of device memory: the driver.
type memorySource interface {
	reserve(size int) (address uint64, err error)
	giveBack(address uint64)
}

// heap hands out pieces of segments, best fit first, and keeps what comes back
// for the next Alloc: a driver's allocation waits for the GPU, ours does not.
// The same sequence of calls gives the same places. Not safe for concurrent use.
type heap struct {
	source  memorySource
	segment int  // smallest segment to reserve
	direct  bool // every buffer is a segment, given back at once
	retired bool // segments go back when empty and none is added: see retire

	segments []*segment
	next     int      // order of the next segment
	free     []*piece // by size, then place
	held     int64    // bytes handed out
	reserved int64    // bytes of segments
}

// segment is one reservation.
type segment struct {
	address uint64
	size    int
	order   int
	live    int // pieces handed out
}

// piece is a part of a segment, free or handed out.
type piece struct {
	seg        *segment
	off, size  int
	prev, next *piece // neighbours in the segment
	free       bool
}

// buffer is what callers hold of a piece. It implements device.Buffer.
type buffer struct {
	owner   *heap
	piece   *piece
	address uint64
	size    int
	live    bool
}

// Size implements device.Buffer.
func (b *buffer) Size() int { return b.size }

const (
	grain         = 256 // all pieces are multiples of this, as the driver aligns
	largestBuffer = 1 << 46
	splitAbove    = 1 // grains that must be left over to cut a piece
)

// alloc returns at least size bytes. The error wraps device.ErrOutOfMemory.
func (h *heap) alloc(size int) (*buffer, error) {
	if size < 0 {
		panic(fmt.Sprintf("cuda: Alloc of %d bytes", size))
	}
	if size > largestBuffer {
		return nil, fmt.Errorf("%w: %d bytes at once", device.ErrOutOfMemory, size)
	}
	if h.direct {
		return h.allocDirect(max(size, 1))
	}
	size = max((size+grain-1)/grain*grain, grain)
	i := sort.Search(len(h.free), func(i int) bool { return h.free[i].size >= size })
	if i == len(h.free) {
		if err := h.grow(size); err != nil {
			return nil, err
		}
		i = sort.Search(len(h.free), func(i int) bool { return h.free[i].size >= size })
	}
	p := h.free[i]
	h.free = slices.Delete(h.free, i, i+1)
	p.free = false
	if rest := p.size - size; rest >= splitAbove*grain {
		r := &piece{seg: p.seg, off: p.off + size, size: rest, prev: p, next: p.next}
		if r.next != nil {
			r.next.prev = r
		}
		p.size, p.next = size, r
		h.insert(r)
	}
	p.seg.live++
	h.held += int64(p.size)
	return &buffer{owner: h, piece: p, address: p.seg.address + uint64(p.off), size: p.size, live: true}, nil
}

func (h *heap) allocDirect(size int) (*buffer, error) {
	address, err := h.source.reserve(size)
	if err != nil {
		return nil, err
	}
	h.held += int64(size)
	h.reserved += int64(size)
	return &buffer{owner: h, address: address, size: size, live: true}, nil
}

// release takes a buffer back.
func (h *heap) release(b *buffer) {
	if !b.live || b.owner != h {
		panic("cuda: Release of a buffer that is not held")
	}
	b.live = false
	h.held -= int64(b.size)
	if h.direct {
		h.reserved -= int64(b.size)
		h.source.giveBack(b.address)
		return
	}
	p := b.piece
	p.seg.live--
	p.free = true
	if n := p.next; n != nil && n.free {
		h.remove(n)
		p.size += n.size
		p.next = n.next
		if p.next != nil {
			p.next.prev = p
		}
	}
	if q := p.prev; q != nil && q.free {
		h.remove(q)
		q.size += p.size
		q.next = p.next
		if q.next != nil {
			q.next.prev = q
		}
		p = q
	}
	if h.retired && p.seg.live == 0 {
		h.drop(p.seg)
		return
	}
	h.insert(p)
}

// before orders free pieces.
func before(a, b *piece) int {
	switch {
	case a.size != b.size:
		return a.size - b.size
	case a.seg != b.seg:
		return a.seg.order - b.seg.order
	}
	return a.off - b.off
}

func (h *heap) insert(p *piece) {
	i, _ := slices.BinarySearchFunc(h.free, p, before)
	p.free = true
	h.free = slices.Insert(h.free, i, p)
}

func (h *heap) remove(p *piece) {
	i, found := slices.BinarySearchFunc(h.free, p, before)
	if !found {
		panic("cuda: heap: a free piece is not in the list")
	}
	h.free = slices.Delete(h.free, i, i+1)
}

// grow reserves a segment for size bytes: a large one if there is room, else
// just what is needed, after giving back all empty ones.
func (h *heap) grow(size int) error {
	want := max(size, h.segment, min(int(h.reserved/4), 1<<30))
	want = (want + h.segment - 1) / h.segment * h.segment
	address, err := h.source.reserve(want)
	if err != nil && want > size {
		want = size
		address, err = h.source.reserve(want)
	}
	if err != nil && h.trim() > 0 {
		address, err = h.source.reserve(want)
	}
	if err != nil {
		return err
	}
	s := &segment{address: address, size: want, order: h.next}
	h.next++
	h.segments = append(h.segments, s)
	h.reserved += int64(want)
	h.insert(&piece{seg: s, size: want})
	return nil
}

// trim gives back empty segments and returns how many bytes they had.
func (h *heap) trim() (bytes int) {
	for _, s := range slices.Clone(h.segments) {
		if s.live == 0 {
			bytes += s.size
			i := slices.IndexFunc(h.free, func(p *piece) bool { return p.seg == s })
			h.free = slices.Delete(h.free, i, i+1) // an empty segment is one piece
			h.drop(s)
		}
	}
	return bytes
}

// drop gives back a segment of which no piece is in the free list.
func (h *heap) drop(s *segment) {
	h.segments = slices.DeleteFunc(h.segments, func(x *segment) bool { return x == s })
	h.reserved -= int64(s.size)
	h.source.giveBack(s.address)
}

// retire makes the heap give back what is empty, now and later.
func (h *heap) retire() {
	h.retired = true
	h.trim()
}
