package generate

import (
	"fmt"
	"image"
	"image/color"
)

// Picture is 8-bit RGB, [Height,Width,3].
type Picture struct {
	Width, Height int
	Pixels        []uint8
}

// FromImage converts an image; transparency is dropped, as the original does.
func FromImage(src image.Image) Picture {
	b := src.Bounds()
	p := Picture{Width: b.Dx(), Height: b.Dy(), Pixels: make([]uint8, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.NRGBAModel.Convert(src.At(x, y)).(color.NRGBA)
			p.Pixels = append(p.Pixels, c.R, c.G, c.B)
		}
	}
	return p
}

// Image returns the picture as the standard library has it.
func (p Picture) Image() *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	for i := range p.Width * p.Height {
		copy(img.Pix[4*i:], p.Pixels[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img
}

// tensor returns the picture in [-1,1], [H·W·3].
func (p Picture) values() []float32 {
	v := make([]float32, len(p.Pixels))
	for i, u := range p.Pixels {
		// As torch does it: x/255, then 2x−1.
		v[i] = float32(2*float32(float32(u)/255)) - 1
	}
	return v
}

// fromValues rounds values in [-1,1] to a picture.
func fromValues(v []float32, w, h int) Picture {
	p := Picture{Width: w, Height: h, Pixels: make([]uint8, len(v))}
	for i, x := range v {
		x = float32(x*0.5) + 0.5
		switch {
		case x >= 1:
			p.Pixels[i] = 255
		case x > 0:
			p.Pixels[i] = roundHalfEven(float32(x * 255))
		}
	}
	return p
}

// roundHalfEven rounds as NumPy does.
func roundHalfEven(x float32) uint8 {
	n := uint8(x)
	switch r := x - float32(n); {
	case r > 0.5, r == 0.5 && n%2 == 1:
		n++
	}
	return n
}

// checkSize refuses sizes that the autoencoder cannot make.
func checkSize(w, h, factor int) error {
	if w < factor || h < factor || w%factor != 0 || h%factor != 0 {
		return fmt.Errorf("size %dx%d: width and height must be multiples of %d, at least %d", w, h, factor, factor)
	}
	return nil
}
