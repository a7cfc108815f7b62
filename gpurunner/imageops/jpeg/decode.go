package jpeg

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Colour says what the components mean.
type Colour int

// The colour models. YCCK is YCbCr of inverted CMY, with K as it is.
const (
	Grey Colour = iota
	YCbCr
	RGB
	CMYK
	YCCK
)

// Component is a plane: Pix[y*Stride+x] for x < Width, y < Height. The plane goes on to full blocks beyond.
type Component struct {
	Width, Height, Stride int
	Pix                   []uint8
	// RatioX and RatioY are how many of the picture's pixels a sample stands for, along each side.
	RatioX, RatioY int

	id        byte
	h, v      int // sampling factors
	table     byte
	quantizer *[64]uint16
	across    int // blocks in a row, whole MCUs
	down      int
	blocks    []block
	dc, ac    byte // Huffman tables of the current scan
	last      int  // DC predictor
}

// block holds coefficients in natural order.
type block [64]int16

// Picture is a decoded file.
type Picture struct {
	Width, Height int
	Colour        Colour
	Components    []Component
}

// ErrTooLarge is returned by Decode for more pixels than allowed.
var ErrTooLarge = errors.New("too many pixels")

var errTruncated = errors.New("the file is truncated")

// maxScans bounds the work that a small file can ask for. Encoders write about ten.
const maxScans = 100

type decoder struct {
	data     []byte
	at       int
	size     int // most pixels allowed
	picture  Picture
	progress bool
	adobe    int // transform of the Adobe marker, -1 without one
	jfif     bool
	restart  int
	tables   [4]*[64]uint16
	huffman  [2][4]*huffman
	hMax     int
	vMax     int
	scans    int
	seen     map[byte]bool
	bits     bits
	eobRun   int
}

// Decode decodes a file of at most maxPixels.
func Decode(data []byte, maxPixels int) (*Picture, error) {
	d := &decoder{data: data, adobe: -1, size: maxPixels, seen: map[byte]bool{}}
	if err := d.markers(false); err != nil {
		return nil, err
	}
	d.transform()
	return &d.picture, nil
}

// Size reads a file up to its frame header.
func Size(data []byte) (width, height int, err error) {
	d := &decoder{data: data, adobe: -1, size: -1, seen: map[byte]bool{}}
	err = d.markers(true)
	return d.picture.Width, d.picture.Height, err
}

// markers reads segments to the end of the picture, or to the frame header.
func (d *decoder) markers(headerOnly bool) error {
	if len(d.data) < 2 || d.data[0] != 0xff || d.data[1] != 0xd8 {
		return errors.New("no start of image")
	}
	d.at = 2
	for {
		marker, ok := d.marker()
		if !ok || marker == 0xd9 {
			if d.picture.Components == nil {
				return errTruncated
			}
			for _, c := range d.picture.Components {
				if !d.seen[c.id] {
					return errTruncated
				}
			}
			return nil
		}
		if marker >= 0xd0 && marker <= 0xd7 || marker == 0x01 {
			continue
		}
		body, err := d.segment()
		if err != nil {
			return err
		}
		switch {
		case marker == 0xc0 || marker == 0xc1 || marker == 0xc2:
			err = d.frame(body, marker == 0xc2, headerOnly)
			if headerOnly && err == nil {
				return nil
			}
		case marker == 0xc4:
			err = d.huffmanTables(body)
		case marker >= 0xc3 && marker <= 0xcf:
			err = fmt.Errorf("coding process %#x is not supported", marker)
		case marker == 0xdb:
			err = d.quantizers(body)
		case marker == 0xdd:
			if len(body) < 2 {
				return errTruncated
			}
			d.restart = int(binary.BigEndian.Uint16(body))
		case marker == 0xda:
			err = d.scan(body)
		case marker == 0xe0 && len(body) >= 5 && string(body[:5]) == "JFIF\x00":
			d.jfif = true
		case marker == 0xee && len(body) >= 12 && string(body[:5]) == "Adobe":
			d.adobe = int(body[11])
		}
		if err != nil {
			return err
		}
	}
}

// marker finds the next marker; bytes before it are passed over.
func (d *decoder) marker() (byte, bool) {
	for ; d.at+1 < len(d.data); d.at++ {
		if m := d.data[d.at+1]; d.data[d.at] == 0xff && m != 0 && m != 0xff {
			d.at += 2
			return m, true
		}
	}
	return 0, false
}

func (d *decoder) segment() ([]byte, error) {
	if d.at+2 > len(d.data) {
		return nil, errTruncated
	}
	n := int(binary.BigEndian.Uint16(d.data[d.at:]))
	if n < 2 || d.at+n > len(d.data) {
		return nil, errTruncated
	}
	body := d.data[d.at+2 : d.at+n]
	d.at += n
	return body, nil
}

func (d *decoder) frame(b []byte, progressive, headerOnly bool) error {
	if d.picture.Width != 0 {
		return errors.New("two frame headers")
	}
	if len(b) < 6 || len(b) < 6+3*int(b[5]) {
		return errTruncated
	}
	if b[0] != 8 {
		return fmt.Errorf("%d bits a sample are not supported", b[0])
	}
	height, width, n := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:])), int(b[5])
	if width == 0 || height == 0 {
		return fmt.Errorf("the size is %d×%d", width, height)
	}
	d.picture.Width, d.picture.Height, d.progress = width, height, progressive
	if headerOnly {
		return nil
	}
	if width > d.size/height {
		return ErrTooLarge
	}
	if n != 1 && n != 3 && n != 4 {
		return fmt.Errorf("%d components are not supported", n)
	}
	for i := range n {
		c := Component{id: b[6+3*i], h: int(b[7+3*i] >> 4), v: int(b[7+3*i] & 15), table: b[8+3*i]}
		for _, other := range d.picture.Components {
			if other.id == c.id {
				return errors.New("two components of one name")
			}
		}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.table > 3 {
			return fmt.Errorf("component %d has sampling %d×%d and table %d", i, c.h, c.v, c.table)
		}
		if n == 1 {
			c.h, c.v = 1, 1 // a lone component is not sampled, whatever it says
		}
		d.hMax, d.vMax = max(d.hMax, c.h), max(d.vMax, c.v)
		d.picture.Components = append(d.picture.Components, c)
	}
	mcusX, mcusY := ceil(width, 8*d.hMax), ceil(height, 8*d.vMax)
	for i := range d.picture.Components {
		c := &d.picture.Components[i]
		if d.hMax%c.h != 0 || d.vMax%c.v != 0 {
			return fmt.Errorf("component %d is sampled %d×%d of %d×%d, which is not supported", i, c.h, c.v, d.hMax, d.vMax)
		}
		c.RatioX, c.RatioY = d.hMax/c.h, d.vMax/c.v
		c.Width, c.Height = ceil(width, c.RatioX), ceil(height, c.RatioY)
		c.across, c.down = mcusX*c.h, mcusY*c.v
		c.blocks = make([]block, c.across*c.down)
	}
	d.picture.Colour = d.colour()
	return nil
}

func ceil(a, b int) int { return (a + b - 1) / b }

// colour guesses what the components are, as libjpeg does: by the JFIF and Adobe markers, then by the components' names.
func (d *decoder) colour() Colour {
	cs := d.picture.Components
	switch len(cs) {
	case 1:
		return Grey
	case 4:
		if d.adobe == 2 {
			return YCCK
		}
		return CMYK
	}
	switch {
	case d.jfif:
		return YCbCr
	case d.adobe == 0:
		return RGB
	case d.adobe < 0 && cs[0].id == 'R' && cs[1].id == 'G' && cs[2].id == 'B':
		return RGB
	}
	return YCbCr
}

func (d *decoder) quantizers(b []byte) error {
	for len(b) > 0 {
		wide, table := b[0]>>4, b[0]&15
		n := 64 * (int(wide) + 1)
		if wide > 1 || table > 3 || len(b) < 1+n {
			return errors.New("quantization table is damaged")
		}
		q := new([64]uint16)
		for i := range q {
			if wide == 1 {
				q[zigzag[i]] = binary.BigEndian.Uint16(b[1+2*i:])
			} else {
				q[zigzag[i]] = uint16(b[1+i])
			}
		}
		d.tables[table] = q
		b = b[1+n:]
	}
	return nil
}

// zigzag gives the natural position of the i-th coefficient in a file.
var zigzag = func() (order [64]uint8) {
	x, y := 0, 0
	for i := range order {
		order[i] = uint8(8*y + x)
		switch {
		case (x+y)%2 == 0 && x == 7: // going up, at the right edge
			y++
		case (x+y)%2 == 0 && y == 0:
			x++
		case (x+y)%2 == 0:
			x, y = x+1, y-1
		case y == 7: // going down, at the bottom
			x++
		case x == 0:
			y++
		default:
			x, y = x-1, y+1
		}
	}
	return
}()
