package tokenizer

import (
	"math"
	"strings"
	"sync"
)

// wordEnd marks, inside vocabulary files, a symbol that ends a word.
const wordEnd = "</w>"

// bpe is a vocabulary with its merges. It does not change once it is built, and is shared by all clones.
type bpe struct {
	size   int        // ids run from 0 to size-1
	inner  [256]int32 // the id of a byte inside a word; -1 where the vocabulary has none
	last   [256]int32 // the id of a byte that ends a word
	merges mergeTable
	tokens func() []string // by id, in the byte alphabet of the files; made when first asked for
}

// mergeTable finds the rank of a pair of ids: an open-addressing table, filled once, without a pointer in it.
type mergeTable struct {
	slots []mergeSlot
	ids   []int32 // by rank: what the pair becomes
	mask  uint32
}

type mergeSlot struct {
	left, right int32 // left is -1 in a free slot
	rank        int32
}

func newMergeTable(n int) mergeTable {
	size := 16
	for size < 2*n+1 {
		size *= 2
	}
	t := mergeTable{slots: make([]mergeSlot, size), ids: make([]int32, 0, n), mask: uint32(size - 1)}
	for i := range t.slots {
		t.slots[i].left = -1
	}
	return t
}

func hash(left, right int32) uint32 {
	h := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

// add gives the pair the next rank. Of a pair that comes twice the later rank counts, as in the original.
func (t *mergeTable) add(left, right, id int32) {
	rank := int32(len(t.ids))
	t.ids = append(t.ids, id)
	i := hash(left, right) & t.mask
	for t.slots[i].left >= 0 && (t.slots[i].left != left || t.slots[i].right != right) {
		i = (i + 1) & t.mask
	}
	t.slots[i] = mergeSlot{left, right, rank}
}

const noRank = math.MaxInt32

func (t *mergeTable) rank(left, right int32) int32 {
	i := hash(left, right) & t.mask
	for t.slots[i].left >= 0 {
		if t.slots[i].left == left && t.slots[i].right == right {
			return t.slots[i].rank
		}
		i = (i + 1) & t.mask
	}
	return noRank
}

// scratch is the memory of one encoding, reused from prompt to prompt.
type scratch struct {
	text []byte
	ids  []int32
	prev []int32
	next []int32
	rank []int32 // of the pair that begins at a symbol, noRank where there is none
	heap []uint64
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// encodeWord appends the ids of one word. The pair of the lowest rank is merged first, the leftmost of equals,
// until no pair is known; a heap keeps a word of any length at n·log n.
func (b *bpe) encodeWord(out []int, word []byte, unknown int32, s *scratch) []int {
	n := len(word)
	if n == 0 {
		return out
	}
	ids, prev, next, rank := grow(&s.ids, n), grow(&s.prev, n), grow(&s.next, n), grow(&s.rank, n)
	for i, c := range word {
		ids[i] = b.inner[c]
		if i == n-1 {
			ids[i] = b.last[c]
		}
		if ids[i] < 0 {
			ids[i] = unknown
		}
		prev[i], next[i] = int32(i-1), int32(i+1)
	}
	s.heap = s.heap[:0]
	for i := range n {
		b.offer(s, i, n)
	}
	for len(s.heap) > 0 {
		top := s.pop()
		i := int32(uint32(top))
		if rank[i] != int32(top>>32) { // the pair has changed since it was put on the heap
			continue
		}
		j := next[i]
		ids[i] = b.merges.ids[rank[i]]
		next[i] = next[j]
		if int(next[i]) < n {
			prev[next[i]] = i
		}
		rank[j] = noRank
		b.offer(s, int(i), n)
		if prev[i] >= 0 {
			b.offer(s, int(prev[i]), n)
		}
	}
	for i := int32(0); int(i) < n; i = next[i] {
		out = append(out, int(ids[i]))
	}
	return out
}

// offer looks up the pair that begins at symbol i and puts it on the heap if it can be merged.
func (b *bpe) offer(s *scratch, i, n int) {
	s.rank[i] = noRank
	j := s.next[i]
	if int(j) >= n {
		return
	}
	if r := b.merges.rank(s.ids[i], s.ids[j]); r != noRank {
		s.rank[i] = r
		s.push(uint64(r)<<32 | uint64(uint32(i)))
	}
}

func (s *scratch) push(v uint64) {
	h := append(s.heap, v)
	i := len(h) - 1
	for i > 0 && h[(i-1)/2] > v {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = v
	s.heap = h
}

func (s *scratch) pop() uint64 {
	h := s.heap
	top, v := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	s.heap = h
	if len(h) == 0 {
		return top
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[child] >= v {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = v
	return top
}

func grow(s *[]int32, n int) []int32 {
	if cap(*s) < n {
		*s = make([]int32, n, 2*n)
	}
	*s = (*s)[:n]
	return *s
}

// byteAlphabet is how vocabulary files write bytes as visible characters (GPT-2's encoder.py): printable Latin-1
// stands for itself, the other 68 bytes for the characters from U+0100 on, in order.
var byteAlphabet = sync.OnceValue(func() *[256]rune {
	var a [256]rune
	next := rune(256)
	for b := range 256 {
		switch {
		case '!' <= b && b <= '~', 0xa1 <= b && b <= 0xac, 0xae <= b && b <= 0xff:
			a[b] = rune(b)
		default:
			a[b] = next
			next++
		}
	}
	return &a
})

// byteOrder is the order in which the vocabulary lists the bytes: those that stand for themselves first.
func byteOrder() []byte {
	var own, moved []byte
	for b, r := range byteAlphabet() {
		if r < 256 {
			own = append(own, byte(b))
		} else {
			moved = append(moved, byte(b))
		}
	}
	return append(own, moved...)
}

// find is the id of a token by its text in the files' alphabet. It walks the list: it is asked once an added token.
func (b *bpe) find(token string) (int, bool) {
	for id, t := range b.tokens() {
		if t == token {
			return id, true
		}
	}
	return 0, false
}

// appendText appends the bytes that a token stands for, with a space for the end of a word.
func (b *bpe) appendText(out []byte, id int) []byte {
	token, ends := strings.CutSuffix(b.tokens()[id], wordEnd)
	for _, r := range token {
		if c, ok := fromAlphabet(r); ok {
			out = append(out, c)
		} else {
			out = append(out, string(r)...)
		}
	}
	if ends {
		out = append(out, ' ')
	}
	return out
}

func fromAlphabet(r rune) (byte, bool) {
	c, ok := alphabetBytes()[r]
	return c, ok
}

var alphabetBytes = sync.OnceValue(func() map[rune]byte {
	m := make(map[rune]byte, 256)
	for b, r := range byteAlphabet() {
		m[r] = byte(b)
	}
	return m
})

// addBytes fills inner and last from the vocabulary's ids.
func (b *bpe) addBytes(id func(token string) (int32, bool)) {
	for c, r := range byteAlphabet() {
		b.inner[c], b.last[c] = -1, -1
		if i, ok := id(string(r)); ok {
			b.inner[c] = i
		}
		if i, ok := id(string(r) + wordEnd); ok {
			b.last[c] = i
		}
	}
}
