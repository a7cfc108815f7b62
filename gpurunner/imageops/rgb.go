package imageops

import (
	"image"
	"image/color"
)

// toRGB converts what the decoders of PNG and WebP give: it drops alpha (without multiplying by it), looks palettes up, and takes the high byte of 16-bit values. saturate
// cuts 16-bit grey at 255 instead: Pillow 9 reads it as 32-bit integers and clips them.
func toRGB(m image.Image, saturate bool) *Picture {
	b := m.Bounds()
	p := New(b.Dx(), b.Dy())
	switch m := m.(type) {
	case *image.YCbCr:
		return fromWebP(m)
	case *image.NYCbCrA:
		return fromWebP(&m.YCbCr)
	case *image.Gray16:
		fill(p, b, func(x, y int) (uint8, uint8, uint8) {
			v := m.Gray16At(x, y).Y
			if saturate {
				v = min(v, 255)
			} else {
				v >>= 8
			}
			return uint8(v), uint8(v), uint8(v)
		})
	case *image.Paletted:
		fill(p, b, func(x, y int) (uint8, uint8, uint8) { return straight(m.Palette[m.ColorIndexAt(x, y)]) })
	case *image.NRGBA:
		fill(p, b, func(x, y int) (uint8, uint8, uint8) { return straight(m.NRGBAAt(x, y)) })
	case *image.RGBA:
		fill(p, b, func(x, y int) (uint8, uint8, uint8) { return straight(m.RGBAAt(x, y)) })
	default:
		fill(p, b, func(x, y int) (uint8, uint8, uint8) { return straight(m.At(x, y)) })
	}
	return p
}

func fill(p *Picture, b image.Rectangle, at func(x, y int) (r, g, b uint8)) {
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			p.Pix[i], p.Pix[i+1], p.Pix[i+2] = at(x, y)
			i += 3
		}
	}
}

// straight gives a colour's values before any multiplication by alpha.
func straight(c color.Color) (r, g, b uint8) {
	switch c := c.(type) {
	case color.NRGBA:
		return c.R, c.G, c.B
	case color.RGBA: // only opaque ones come out of the decoders
		return c.R, c.G, c.B
	case color.Gray:
		return c.Y, c.Y, c.Y
	case color.NRGBA64:
		return uint8(c.R >> 8), uint8(c.G >> 8), uint8(c.B >> 8)
	case color.RGBA64:
		return uint8(c.R >> 8), uint8(c.G >> 8), uint8(c.B >> 8)
	}
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return n.R, n.G, n.B
}
