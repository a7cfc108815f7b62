package cpu

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// heap hands out pieces of mapped segments by two-level segregated fit
// (Masmano et al., "TLSF: a new dynamic memory allocator for real-time
// systems", 2004): constant time, neighbours merged at once, and the same
// sequence of calls gives the same places. Not safe for concurrent use.
type heap struct {
	pages    Pages
	segment  int  // smallest segment to map
	giveBack bool // unmap a segment when its last piece comes back
	poison   bool
	mapped   int64
	segments [][]byte // all that is mapped

	classes [levels]uint32             // bit i of classes[l]: first[l][i] is not empty
	level   uint64                     // bit l: classes[l] is not zero
	first   [levels][sublevels]*buffer // free pieces
	spare   *buffer                    // unused descriptors, linked by nextFree
}

const (
	grain     = 64 // all pieces are multiples of this, and aligned to it
	subBits   = 4
	sublevels = 1 << subBits
	levels    = 48
	largest   = 1 << 46
)

// buffer is a piece of a segment, free or handed out. It implements
// device.Buffer.
type buffer struct {
	mem                []byte
	owner              *heap
	live               bool
	prev, next         *buffer // neighbours in the segment
	prevFree, nextFree *buffer
	whole              []byte // of the segment's first piece: what Map returned
}

// Size implements device.Buffer.
func (b *buffer) Size() int { return len(b.mem) }

// class is the list that a free piece of size bytes is kept in.
func class(size int) (level, sub int) {
	n := uint(size / grain)
	if n < sublevels {
		return 0, int(n)
	}
	top := bits.Len(n) - 1
	return top - subBits + 1, int(n>>(top-subBits)) & (sublevels - 1)
}

// classFor is the first list all of whose pieces have at least size bytes.
func classFor(size int) (level, sub int) {
	n := uint(size / grain)
	if n >= sublevels {
		n += 1<<(bits.Len(n)-1-subBits) - 1
	}
	return class(int(n) * grain)
}

func (h *heap) insert(b *buffer) {
	l, s := class(len(b.mem))
	b.prevFree, b.nextFree = nil, h.first[l][s]
	if b.nextFree != nil {
		b.nextFree.prevFree = b
	}
	h.first[l][s] = b
	h.classes[l] |= 1 << s
	h.level |= 1 << l
}

func (h *heap) remove(b *buffer) {
	l, s := class(len(b.mem))
	if b.nextFree != nil {
		b.nextFree.prevFree = b.prevFree
	}
	if b.prevFree != nil {
		b.prevFree.nextFree = b.nextFree
	} else {
		h.first[l][s] = b.nextFree
		if b.nextFree == nil {
			h.classes[l] &^= 1 << s
			if h.classes[l] == 0 {
				h.level &^= 1 << l
			}
		}
	}
	b.prevFree, b.nextFree = nil, nil
}

// find returns a free piece of at least size bytes, or nil.
func (h *heap) find(size int) *buffer {
	l, s := classFor(size)
	if subs := h.classes[l] >> s << s; subs != 0 {
		return h.first[l][bits.TrailingZeros32(subs)]
	}
	above := h.level >> (l + 1) << (l + 1)
	if above == 0 {
		return nil
	}
	l = bits.TrailingZeros64(above)
	return h.first[l][bits.TrailingZeros32(h.classes[l])]
}

func (h *heap) descriptor() *buffer {
	if b := h.spare; b != nil {
		h.spare = b.nextFree
		*b = buffer{owner: h}
		return b
	}
	return &buffer{owner: h}
}

func (h *heap) retire(b *buffer) {
	*b = buffer{owner: h}
	if !h.poison { // in tests a stale buffer stays recognisable for ever
		b.nextFree = h.spare
		h.spare = b
	}
}

// grow maps a segment with room for size bytes.
func (h *heap) grow(size int) error {
	n := max(size, h.segment)
	if h.mapped/4 > int64(n) && !h.giveBack {
		n = int(h.mapped / 4)
	}
	n = roundUp(n, hugePage)
	whole, err := h.pages.Map(n + hugePage)
	if err != nil && n > roundUp(size, 4096) {
		n = roundUp(size, 4096)
		whole, err = h.pages.Map(n + hugePage)
	}
	if err != nil {
		return fmt.Errorf("%w: %d bytes more, %d mapped: %v", device.ErrOutOfMemory, size, h.mapped, err)
	}
	h.mapped += int64(len(whole))
	h.segments = append(h.segments, whole)
	skip := -int(uintptr(unsafe.Pointer(&whole[0]))) & (hugePage - 1)
	b := h.descriptor()
	b.mem, b.whole = whole[skip:skip+n:skip+n], whole
	if h.poison {
		fill(b.mem, poison)
	}
	h.insert(b)
	return nil
}

// alloc returns at least size bytes.
func (h *heap) alloc(size int) (*buffer, error) {
	if size < 0 {
		panic(fmt.Sprintf("cpu: Alloc of %d bytes", size))
	}
	if size > largest {
		return nil, fmt.Errorf("%w: %d bytes at once", device.ErrOutOfMemory, size)
	}
	size = max(roundUp(size, grain), grain)
	b := h.find(size)
	if b == nil {
		if err := h.grow(size + size/sublevels); err != nil {
			return nil, err
		}
		if b = h.find(size); b == nil {
			panic("cpu: heap: no piece after growing")
		}
	}
	h.remove(b)
	if rest := len(b.mem) - size; rest >= grain {
		r := h.descriptor()
		r.mem = b.mem[size:]
		b.mem = b.mem[:size:size]
		r.prev, r.next, b.next = b, b.next, r
		if r.next != nil {
			r.next.prev = r
		}
		h.insert(r)
	}
	b.live = true
	return b, nil
}

// free takes a piece back and merges it with its neighbours.
func (h *heap) free(b *buffer) {
	if !b.live || b.owner != h {
		panic("cpu: Release of a buffer that is not held")
	}
	b.live = false
	if h.poison {
		fill(b.mem, poison)
		// Whoever kept b must not see it come back to life as another buffer.
		fresh := &buffer{mem: b.mem, owner: h, prev: b.prev, next: b.next, whole: b.whole}
		if fresh.prev != nil {
			fresh.prev.next = fresh
		}
		if fresh.next != nil {
			fresh.next.prev = fresh
		}
		h.retire(b)
		b = fresh
	}
	if n := b.next; n != nil && !n.live {
		h.remove(n)
		b.join(n)
		h.retire(n)
	}
	if p := b.prev; p != nil && !p.live {
		h.remove(p)
		p.join(b)
		h.retire(b)
		b = p
	}
	if h.giveBack && b.prev == nil && b.next == nil {
		h.unmap(b.whole)
		h.retire(b)
		return
	}
	h.insert(b)
}

// join appends the neighbour n to b.
func (b *buffer) join(n *buffer) {
	b.mem = unsafe.Slice(unsafe.SliceData(b.mem), len(b.mem)+len(n.mem))
	b.next = n.next
	if b.next != nil {
		b.next.prev = b
	}
}

func (h *heap) unmap(whole []byte) {
	h.mapped -= int64(len(whole))
	h.segments = slices.DeleteFunc(h.segments, func(s []byte) bool { return &s[0] == &whole[0] })
	h.pages.Unmap(whole)
}

// close unmaps every segment. All buffers of the heap are dead afterwards.
func (h *heap) close() {
	for _, s := range h.segments {
		h.pages.Unmap(s)
	}
	*h = heap{pages: h.pages, segment: h.segment, giveBack: h.giveBack, poison: h.poison}
}
