package jpeg

import (
	"errors"
	"fmt"
)

// pass is what a scan says of the coefficients that it holds.
type pass struct {
	from, to  int // spectral selection
	high, low int // successive approximation: bits known before, bits still to come
}

func (d *decoder) scan(b []byte) error {
	if d.picture.Components == nil {
		return errors.New("a scan without a frame header")
	}
	if d.scans++; d.scans > maxScans {
		return fmt.Errorf("more than %d scans", maxScans)
	}
	if len(b) < 1 || len(b) < 4+2*int(b[0]) {
		return errTruncated
	}
	n := int(b[0])
	if n < 1 || n > len(d.picture.Components) {
		return fmt.Errorf("a scan of %d components", n)
	}
	p := pass{0, 63, 0, 0}
	tail := b[1+2*n:]
	if d.progress {
		p = pass{int(tail[0]), int(tail[1]), int(tail[2] >> 4), int(tail[2] & 15)}
		if p.from > p.to || p.to > 63 || p.from == 0 && p.to != 0 || p.from > 0 && n > 1 || p.low > 13 || p.high != 0 && p.high != p.low+1 {
			return errors.New("a progressive scan makes no sense")
		}
	}
	var parts []*Component
	for i := range n {
		c, err := d.part(b[1+2*i], b[2+2*i], p)
		if err != nil {
			return err
		}
		for _, other := range parts {
			if other == c {
				return errors.New("a scan names a component twice")
			}
		}
		parts = append(parts, c)
		d.seen[c.id] = true
	}
	d.bits = bits{data: d.data, at: d.at}
	if err := d.coefficients(parts, p); err != nil {
		return err
	}
	d.at = d.bits.at
	return nil
}

// part readies a component for a scan: its tables, and its quantizer, which counts as it is at the first scan.
func (d *decoder) part(id, tables byte, p pass) (*Component, error) {
	for i := range d.picture.Components {
		c := &d.picture.Components[i]
		if c.id != id {
			continue
		}
		c.dc, c.ac = tables>>4, tables&15
		if c.dc > 3 || c.ac > 3 || p.from == 0 && p.high == 0 && d.huffman[0][c.dc] == nil || p.to > 0 && d.huffman[1][c.ac] == nil {
			return nil, errors.New("a scan uses a Huffman table that is not there")
		}
		if c.quantizer == nil {
			if c.quantizer = d.tables[c.table]; c.quantizer == nil {
				return nil, errors.New("a scan uses a quantization table that is not there")
			}
		}
		return c, nil
	}
	return nil, fmt.Errorf("a scan names component %d, which is not there", id)
}

// coefficients reads a scan's blocks: MCU by MCU, or, of one component alone, block by block without the padding.
func (d *decoder) coefficients(parts []*Component, p pass) error {
	alone := len(parts) == 1
	across, down := ceil(d.picture.Width, 8*d.hMax), ceil(d.picture.Height, 8*d.vMax)
	if alone {
		across, down = ceil(parts[0].Width, 8), ceil(parts[0].Height, 8)
	}
	d.reset(parts)
	for i := range across * down {
		if d.restart > 0 && i > 0 && i%d.restart == 0 {
			if err := d.restartMarker(i / d.restart); err != nil {
				return err
			}
			d.reset(parts)
		}
		x, y := i%across, i/across
		for _, c := range parts {
			if alone {
				if err := d.block(c, &c.blocks[y*c.across+x], p); err != nil {
					return err
				}
				continue
			}
			for k := range c.h * c.v {
				if err := d.block(c, &c.blocks[(y*c.v+k/c.h)*c.across+x*c.h+k%c.h], p); err != nil {
					return err
				}
			}
		}
		if d.bits.overrun() {
			return errTruncated
		}
	}
	return nil
}

func (d *decoder) reset(parts []*Component) {
	for _, c := range parts {
		c.last = 0
	}
	d.eobRun = 0
	d.bits.acc, d.bits.count, d.bits.extra = 0, 0, 0
}

// restartMarker passes over the n-th restart marker, which must follow at once.
func (d *decoder) restartMarker(n int) error {
	b := &d.bits
	for b.at+1 < len(b.data) && b.data[b.at] == 0xff && b.data[b.at+1] == 0xff {
		b.at++
	}
	if b.at+1 >= len(b.data) || b.data[b.at] != 0xff || int(b.data[b.at+1]) != 0xd0+(n-1)%8 {
		return errors.New("a restart marker is missing")
	}
	b.at += 2
	return nil
}

func (d *decoder) block(c *Component, b *block, p pass) error {
	switch {
	case !d.progress:
		return d.sequential(c, b)
	case p.from == 0 && p.high == 0:
		v, err := d.difference(c)
		if err != nil {
			return err
		}
		b[0] = int16(v << p.low)
		return nil
	case p.from == 0:
		if d.bits.get(1) == 1 {
			b[0] |= 1 << p.low
		}
		return nil
	case p.high == 0:
		return d.firstAC(c, b, p)
	}
	return d.refineAC(c, b, p)
}

// difference reads a DC value: coded as the difference to the component's block before.
func (d *decoder) difference(c *Component) (int, error) {
	size, err := d.bits.symbol(d.huffman[0][c.dc])
	if err != nil {
		return 0, err
	}
	if size > 15 {
		return 0, errors.New("a DC difference is too large")
	}
	// Kept to 16 bits, which valid data never leaves.
	c.last = int(int16(c.last + d.bits.signed(int(size))))
	return c.last, nil
}

func (d *decoder) sequential(c *Component, b *block) error {
	v, err := d.difference(c)
	if err != nil {
		return err
	}
	*b = block{int16(v)}
	for k := 1; k < 64; k++ {
		s, err := d.bits.symbol(d.huffman[1][c.ac])
		if err != nil {
			return err
		}
		run, size := int(s>>4), int(s&15)
		if size == 0 {
			if run != 15 {
				return nil // the rest is zero
			}
			k += 15
			continue
		}
		if k += run; k > 63 {
			return errors.New("a block holds too many coefficients")
		}
		b[zigzag[k]] = int16(d.bits.signed(size))
	}
	return nil
}

// firstAC reads the high bits of a band of coefficients. A run of blocks without any is one code.
func (d *decoder) firstAC(c *Component, b *block, p pass) error {
	if d.eobRun > 0 {
		d.eobRun--
		return nil
	}
	for k := p.from; k <= p.to; k++ {
		s, err := d.bits.symbol(d.huffman[1][c.ac])
		if err != nil {
			return err
		}
		run, size := int(s>>4), int(s&15)
		if size == 0 {
			if run != 15 {
				d.eobRun = 1<<run + d.bits.get(run) - 1
				return nil
			}
			k += 15
			continue
		}
		if k += run; k > p.to {
			return errors.New("a block holds too many coefficients")
		}
		b[zigzag[k]] = int16(d.bits.signed(size) << p.low)
	}
	return nil
}

// refineAC reads one more bit of the coefficients that are known, and those that begin with this bit.
func (d *decoder) refineAC(c *Component, b *block, p pass) error {
	step := int16(1) << p.low
	k := p.from
	if d.eobRun == 0 {
		for ; k <= p.to; k++ {
			s, err := d.bits.symbol(d.huffman[1][c.ac])
			if err != nil {
				return err
			}
			run, size := int(s>>4), int(s&15)
			value := int16(0)
			switch {
			case size == 1:
				if value = -step; d.bits.get(1) == 1 {
					value = step
				}
			case size > 1:
				return errors.New("a refinement of more than one bit")
			case run != 15:
				d.eobRun = 1<<run + d.bits.get(run)
			}
			if d.eobRun > 0 {
				break
			}
			k = d.refine(b, k, p.to, run, step)
			if value != 0 {
				if k > p.to {
					return errors.New("a block holds too many coefficients")
				}
				b[zigzag[k]] = value
			}
		}
	}
	if d.eobRun > 0 {
		d.refine(b, k, p.to, -1, step)
		d.eobRun--
	}
	return nil
}

// refine reads a bit for each known coefficient from k on, passing over a number of unknown ones (all, if it is
// negative), and returns the position of the unknown one after those.
func (d *decoder) refine(b *block, k, to, unknown int, step int16) int {
	for ; k <= to; k++ {
		v := &b[zigzag[k]]
		if *v == 0 {
			if unknown == 0 {
				return k
			}
			unknown--
			continue
		}
		if d.bits.get(1) == 1 && *v&step == 0 {
			if *v > 0 {
				*v += step
			} else {
				*v -= step
			}
		}
	}
	return k
}
