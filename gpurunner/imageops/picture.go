package imageops

import (
	"fmt"
	"image"
	"math"
)

// Picture is an RGB picture: Pix is [Height,Width,3], rows from the top.
type Picture struct {
	Width, Height int
	Pix           []uint8
}

// New returns a black picture.
func New(width, height int) *Picture {
	return &Picture{width, height, make([]uint8, 3*width*height)}
}

// Row is row y, 3 bytes a pixel.
func (p *Picture) Row(y int) []uint8 { return p.Pix[3*p.Width*y : 3*p.Width*(y+1)] }

// Image copies the picture to the standard library's type, opaque.
func (p *Picture) Image() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := range p.Width * p.Height {
		m.Pix[4*i], m.Pix[4*i+1], m.Pix[4*i+2], m.Pix[4*i+3] = p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2], 255
	}
	return m
}

// Floats scales bytes to -1 to 1, [H,W,3], as ToTensor and Normalize(0.5, 0.5) do: (u/255 - 0.5)/0.5 in float32.
func (p *Picture) Floats() []float32 {
	out := make([]float32, len(p.Pix))
	for i, u := range p.Pix {
		out[i] = (float32(u)/255 - 0.5) / 0.5
	}
	return out
}

// Crop cuts out a rectangle, which must lie inside.
func (p *Picture) Crop(x, y, width, height int) (*Picture, error) {
	if x < 0 || y < 0 || width < 1 || height < 1 || x+width > p.Width || y+height > p.Height {
		return nil, fmt.Errorf("crop of %d×%d at (%d,%d) does not lie inside a picture of %d×%d", width, height, x, y, p.Width, p.Height)
	}
	out := New(width, height)
	for i := range height {
		copy(out.Row(i), p.Row(y + i)[3*x:])
	}
	return out, nil
}

// CentreCrop cuts out a centred square. Half pixels round to even, as in torchvision's CenterCrop.
func (p *Picture) CentreCrop(side int) (*Picture, error) {
	at := func(size int) int { return int(math.RoundToEven(float64(size-side) / 2)) }
	return p.Crop(at(p.Width), at(p.Height), side, side)
}

// Flip mirrors left and right.
func (p *Picture) Flip() *Picture {
	out := New(p.Width, p.Height)
	for y := range p.Height {
		from, to := p.Row(y), out.Row(y)
		for x := range p.Width {
			copy(to[3*x:3*x+3], from[3*(p.Width-1-x):])
		}
	}
	return out
}

// Orient turns a picture that was stored with an EXIF orientation (1 to 8) upright. Other values leave it as it is.
func (p *Picture) Orient(orientation int) *Picture {
	if orientation < 2 || orientation > 8 {
		return p
	}
	w, h := p.Width, p.Height
	if orientation >= 5 {
		w, h = h, w
	}
	out := New(w, h)
	for y := range h {
		for x := range w {
			// (u, v) is where the upright picture's (x, y) is stored.
			u, v := x, y
			if orientation >= 5 {
				u, v = y, x
			}
			switch orientation {
			case 2, 8:
				u = p.Width - 1 - u
			case 3, 7:
				u, v = p.Width-1-u, p.Height-1-v
			case 4, 6:
				v = p.Height - 1 - v
			}
			copy(out.Pix[3*(y*w+x):3*(y*w+x)+3], p.Pix[3*(v*p.Width+u):])
		}
	}
	return out
}
