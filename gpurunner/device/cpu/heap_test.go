package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

// counted is Anonymous that knows how much is mapped.
type counted struct{ bytes int }

func (c *counted) Map(size int) ([]byte, error) {
	c.bytes += size
	return Anonymous{}.Map(size)
}

func (c *counted) Unmap(p []byte) {
	c.bytes -= len(p)
	Anonymous{}.Unmap(p)
}

// TestHeapSameSequenceSamePlaces runs one random sequence on two heaps.
func TestHeapSameSequenceSamePlaces(t *testing.T) {
	var places [2][]int
	for run := range places {
		h := &heap{pages: Anonymous{}, segment: 1 << 20}
		r := rand.New(rand.NewPCG(3, 4))
		var held []*buffer
		for range 3000 {
			if len(held) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(held))
				h.free(held[i])
				held = slices.Delete(held, i, i+1)
				continue
			}
			b, err := h.alloc(1 + r.IntN(1<<r.IntN(19)))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, b)
			places[run] = append(places[run], place(h, b))
			if uintptr(unsafe.Pointer(&b.mem[0]))%grain != 0 {
				t.Fatal("a piece is not aligned")
			}
		}
		overlaps(t, held)
		for _, b := range held {
			h.free(b)
		}
		if n := pieces(h); n != len(h.segments) {
			t.Errorf("%d free pieces in %d segments: neighbours were not merged", n, len(h.segments))
		}
		h.close()
	}
	if !slices.Equal(places[0], places[1]) {
		t.Error("the same calls gave other places")
	}
}

// place is the number of b's segment and the offset there.
func place(h *heap, b *buffer) int {
	at := uintptr(unsafe.Pointer(&b.mem[0]))
	for i, s := range h.segments {
		base := uintptr(unsafe.Pointer(&s[0]))
		if at >= base && at < base+uintptr(len(s)) {
			aligned := (base + hugePage - 1) &^ (hugePage - 1)
			return i<<40 | int(at-aligned)
		}
	}
	return -1
}

func overlaps(t *testing.T, held []*buffer) {
	sorted := slices.Clone(held)
	slices.SortFunc(sorted, func(a, b *buffer) int {
		if uintptr(unsafe.Pointer(&a.mem[0])) < uintptr(unsafe.Pointer(&b.mem[0])) {
			return -1
		}
		return 1
	})
	for i := 1; i < len(sorted); i++ {
		end := uintptr(unsafe.Pointer(&sorted[i-1].mem[0])) + uintptr(len(sorted[i-1].mem))
		if end > uintptr(unsafe.Pointer(&sorted[i].mem[0])) {
			t.Fatal("two pieces overlap")
		}
	}
}

func pieces(h *heap) (n int) {
	for l := range h.first {
		for _, b := range h.first[l] {
			for ; b != nil; b = b.nextFree {
				n++
			}
		}
	}
	return n
}

func TestHeapGivesBack(t *testing.T) {
	pages := &counted{}
	h := &heap{pages: pages, segment: 1 << 20, giveBack: true}
	var held []*buffer
	for range 40 {
		b, err := h.alloc(300_000)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, b)
	}
	if pages.bytes < 12_000_000 {
		t.Fatalf("%d bytes mapped", pages.bytes)
	}
	for _, b := range held {
		h.free(b)
	}
	if pages.bytes != 0 || h.mapped != 0 {
		t.Errorf("%d bytes still mapped, the heap says %d", pages.bytes, h.mapped)
	}
}

func TestHeapPoison(t *testing.T) {
	h := &heap{pages: Anonymous{}, segment: 1 << 20, poison: true}
	defer h.close()
	b, err := h.alloc(100)
	if err != nil {
		t.Fatal(err)
	}
	mem := b.mem
	for i, v := range mem {
		if v != poison {
			t.Fatalf("byte %d of fresh memory is %#x", i, v)
		}
		mem[i] = 1
	}
	h.free(b)
	if mem[0] != poison || mem[len(mem)-1] != poison {
		t.Error("released memory keeps its contents")
	}
	if again, _ := h.alloc(100); again == b {
		t.Error("a released buffer came back to life")
	}
}

func TestHeapFreeTwicePanics(t *testing.T) {
	h := &heap{pages: Anonymous{}, segment: 1 << 20, poison: true}
	defer h.close()
	b, err := h.alloc(1)
	if err != nil {
		t.Fatal(err)
	}
	h.free(b)
	defer func() {
		if recover() == nil {
			t.Error("a second Release went through")
		}
	}()
	h.free(b)
}
