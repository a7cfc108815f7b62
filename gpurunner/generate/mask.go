package generate

import (
	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// Mask says what of a picture to draw anew: values from 128 on, of 255.
type Mask struct {
	Width, Height int
	Values        []uint8 // [Height,Width]
}

// MaskOf makes a mask of a picture that is white where to draw anew, resized to
// w×h.
func MaskOf(p *imageops.Picture, w, h int) (*Mask, error) {
	p, err := p.Resize(w, h, imageops.Lanczos)
	if err != nil {
		return nil, err
	}
	m := &Mask{Width: w, Height: h, Values: make([]uint8, w*h)}
	for i := range m.Values {
		// ITU-R 601 luma, as Pillow's conversion to grey.
		r, g, b := uint32(p.Pix[3*i]), uint32(p.Pix[3*i+1]), uint32(p.Pix[3*i+2])
		m.Values[i] = uint8((r*19595 + g*38470 + b*7471 + 0x8000) >> 16)
	}
	return m, nil
}
