package jpeg

import "errors"

// huffman decodes codes of up to 16 bits: those of up to 8 by one look, the others by length.
type huffman struct {
	look   [256]uint16 // length<<8 | value of the code that a byte begins with; 0: longer
	last   [17]int     // the largest code of a length, -1 without one
	offset [17]int     // value index minus code, by length
	values []byte
}

var errHuffman = errors.New("a Huffman table is damaged")

func (d *decoder) huffmanTables(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 {
			return errHuffman
		}
		class, slot := b[0]>>4, b[0]&15
		if class > 1 || slot > 3 {
			return errHuffman
		}
		total := 0
		for _, n := range b[1:17] {
			total += int(n)
		}
		if total > 256 || len(b) < 17+total {
			return errHuffman
		}
		h, err := newHuffman(b[1:17], b[17:17+total])
		if err != nil {
			return err
		}
		d.huffman[class][slot] = h
		b = b[17+total:]
	}
	return nil
}

// newHuffman makes the canonical code with the given number of codes per length.
func newHuffman(perLength, values []byte) (*huffman, error) {
	h := &huffman{values: append([]byte(nil), values...)}
	code, k := 0, 0
	for length := 1; length <= 16; length++ {
		n := int(perLength[length-1])
		h.offset[length] = k - code
		for range n {
			if length <= 8 {
				for fill := range 1 << (8 - length) {
					at := code<<(8-length) | fill
					if at > 255 {
						return nil, errHuffman
					}
					h.look[at] = uint16(length)<<8 | uint16(values[k])
				}
			}
			code++
			k++
		}
		if code > 1<<length {
			return nil, errHuffman
		}
		h.last[length] = code - 1
		if n == 0 {
			h.last[length] = -1
		}
		code <<= 1
	}
	return h, nil
}

// bits reads the entropy-coded bytes of a scan. A stuffed zero after 0xff is left out; a marker ends them.
type bits struct {
	data  []byte
	at    int
	acc   uint32
	count int
	extra int // bits given beyond the end: zeros
}

// need makes at least n ≤ 24 bits available, as zeros where the data is at its end.
func (b *bits) need(n int) {
	for b.count < n {
		v := uint32(0)
		switch {
		case b.at < len(b.data) && b.data[b.at] != 0xff:
			v = uint32(b.data[b.at])
			b.at++
		case b.at+1 < len(b.data) && b.data[b.at+1] == 0:
			v = 0xff
			b.at += 2
		default:
			b.extra += 8
		}
		b.acc = b.acc<<8 | v
		b.count += 8
	}
}

func (b *bits) get(n int) int {
	if n == 0 {
		return 0
	}
	b.need(n)
	b.count -= n
	return int(b.acc>>b.count) & (1<<n - 1)
}

// overrun reports whether more bits were used than there are.
func (b *bits) overrun() bool { return b.extra > b.count }

// signed reads n bits as JPEG writes a number of that size: a first bit 0 is negative.
func (b *bits) signed(n int) int {
	v := b.get(n)
	if n > 0 && v < 1<<(n-1) {
		v -= 1<<n - 1
	}
	return v
}

// symbol reads one code.
func (b *bits) symbol(h *huffman) (byte, error) {
	b.need(16)
	top := int(b.acc>>(b.count-16)) & 0xffff
	if e := h.look[top>>8]; e != 0 {
		b.count -= int(e >> 8)
		return byte(e), nil
	}
	for length := 9; length <= 16; length++ {
		if code := top >> (16 - length); code <= h.last[length] {
			if i := code + h.offset[length]; i >= 0 && i < len(h.values) {
				b.count -= length
				return h.values[i], nil
			}
			break
		}
	}
	return 0, errors.New("the picture holds a code that is in no Huffman table")
}
