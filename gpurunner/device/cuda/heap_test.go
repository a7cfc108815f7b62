package cuda

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// memory is a source of so many bytes.
type memory struct {
	room int
	next uint64
	held map[uint64]int
}

func newMemory(room int) *memory { return &memory{room: room, next: 1 << 44, held: map[uint64]int{}} }

func (m *memory) reserve(size int) (uint64, error) {
	if size > m.room {
		return 0, device.ErrOutOfMemory
	}
	a := m.next
	m.next += uint64(size) + 4096
	m.held[a] = size
	m.room -= size
	return a, nil
}

func (m *memory) giveBack(a uint64) {
	size, ok := m.held[a]
	if !ok {
		panic("not reserved")
	}
	delete(m.held, a)
	m.room += size
}

func TestHeapDoesNotOverlap(t *testing.T) {
	m := newMemory(1 << 30)
	h := &heap{source: m, segment: 1 << 20}
	random := rand.New(rand.NewPCG(1, 2))
	var all []*buffer
	for range 5000 {
		if len(all) > 40 && random.IntN(2) == 0 {
			i := random.IntN(len(all))
			h.release(all[i])
			all = slices.Delete(all, i, i+1)
			continue
		}
		b, err := h.alloc(random.IntN(1 << random.IntN(22)))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			if b.address < o.address+uint64(o.size) && o.address < b.address+uint64(b.size) {
				t.Fatalf("buffers at %#x (%d bytes) and %#x (%d bytes) overlap", b.address, b.size, o.address, o.size)
			}
		}
		all = append(all, b)
	}
	for _, b := range all {
		h.release(b)
	}
	if h.held != 0 {
		t.Errorf("%d bytes are held after all came back", h.held)
	}
	if len(h.free) != len(h.segments) {
		t.Errorf("%d pieces in %d empty segments: neighbours were not merged", len(h.free), len(h.segments))
	}
	h.trim()
	if len(m.held) != 0 || h.reserved != 0 {
		t.Errorf("%d segments, %d bytes, are still reserved", len(m.held), h.reserved)
	}
}

func TestHeapRepeats(t *testing.T) {
	places := func() (at []uint64) {
		h := &heap{source: newMemory(1 << 28), segment: 1 << 20}
		random := rand.New(rand.NewPCG(3, 4))
		var all []*buffer
		for range 500 {
			b, err := h.alloc(1 + random.IntN(1<<18))
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, b.address)
			all = append(all, b)
			if random.IntN(3) > 0 {
				i := random.IntN(len(all))
				h.release(all[i])
				all = slices.Delete(all, i, i+1)
			}
		}
		return at
	}
	if !slices.Equal(places(), places()) {
		t.Error("the same calls gave other places")
	}
}

func TestHeapOutOfMemory(t *testing.T) {
	m := newMemory(3 << 20)
	h := &heap{source: m, segment: 2 << 20}
	a, err := h.alloc(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = h.alloc(3 << 20); !errors.Is(err, device.ErrOutOfMemory) {
		t.Fatalf("alloc of 3 MiB with 1 left: %v", err)
	}
	b, err := h.alloc(1<<20 + 1) // too large for what is left of the segment
	if !errors.Is(err, device.ErrOutOfMemory) {
		t.Fatalf("got %v, %v", b, err)
	}
	h.release(a)
	if b, err = h.alloc(3 << 20); err != nil { // the empty segment had to go back first
		t.Fatal(err)
	}
	h.release(b)
	if _, err = h.alloc(1 << 50); !errors.Is(err, device.ErrOutOfMemory) {
		t.Errorf("alloc of 1 PiB: %v", err)
	}
}

func TestHeapRetire(t *testing.T) {
	m := newMemory(1 << 28)
	h := &heap{source: m, segment: 1 << 20}
	a, _ := h.alloc(100)
	h.retire()
	if len(m.held) != 1 {
		t.Fatalf("%d segments while a buffer is held", len(m.held))
	}
	h.release(a)
	if len(m.held) != 0 {
		t.Error("the last buffer of a retired heap left its segment reserved")
	}
}
