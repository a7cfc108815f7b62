package imageops

import "github.com/lowrank/lowrank/gpurunner/imageops/jpeg"

// fromJPEG interpolates the planes that are stored at a part of the resolution, and converts to RGB, as libjpeg does.
func fromJPEG(j *jpeg.Picture) *Picture {
	p := New(j.Width, j.Height)
	lines := make([][]uint8, len(j.Components))
	for i := range lines {
		lines[i] = make([]uint8, j.Width)
	}
	for y := range p.Height {
		for i := range j.Components {
			upsample(lines[i], &j.Components[i], y)
		}
		colourRow(p.Row(y), lines, j.Colour)
	}
	return p
}

func colourRow(to []uint8, c [][]uint8, colour jpeg.Colour) {
	for x := range c[0] {
		px := to[3*x : 3*x+3]
		switch colour {
		case jpeg.Grey:
			px[0], px[1], px[2] = c[0][x], c[0][x], c[0][x]
		case jpeg.RGB:
			px[0], px[1], px[2] = c[0][x], c[1][x], c[2][x]
		case jpeg.YCbCr:
			px[0], px[1], px[2] = fromYCbCr(int(c[0][x]), int(c[1][x]), int(c[2][x]))
		case jpeg.YCCK:
			r, g, b := fromYCbCr(int(c[0][x]), int(c[1][x]), int(c[2][x]))
			px[0], px[1], px[2] = ink(r, c[3][x]), ink(g, c[3][x]), ink(b, c[3][x])
		case jpeg.CMYK:
			px[0], px[1], px[2] = ink(255-c[0][x], c[3][x]), ink(255-c[1][x], c[3][x]), ink(255-c[2][x], c[3][x])
		}
	}
}

// fromYCbCr is JFIF's conversion in 16-bit fixed point.
func fromYCbCr(y, cb, cr int) (r, g, b uint8) {
	cb, cr = cb-128, cr-128
	const half = 1 << 15
	return byteOf(y + (91881*cr+half)>>16),
		byteOf(y + (-22554*cb-46802*cr+half)>>16),
		byteOf(y + (116130*cb+half)>>16)
}

func byteOf(v int) uint8 { return uint8(min(max(v, 0), 255)) }

// ink is the light that a printed colour c under black leaves, where white is 255 minus the black: white - c·white/255,
// rounded. Files hold ink inverted, so what they call black is white here.
func ink(c, white uint8) uint8 {
	t := int(c)*int(white) + 128
	return uint8(max(int(white)-((t>>8)+t)>>8, 0))
}

// upsample writes row y of a plane at the picture's resolution. Halves are interpolated by libjpeg's "fancy upsampling", 3
// parts of the near sample and 1 of the next, but not across planes of two columns or less; all else is repeated.
func upsample(to []uint8, c *jpeg.Component, y int) {
	row := func(i int) []uint8 { return c.Pix[i*c.Stride : i*c.Stride+c.Width] }
	near := row(y / c.RatioY)
	switch {
	case c.RatioX == 1 && c.RatioY == 1:
		copy(to, near)
	case c.RatioX == 2 && c.RatioY == 1 && c.Width > 2:
		for x := range to {
			n, ok := nextTo(x, c.Width)
			if v := int(near[x/2]); ok {
				to[x] = uint8((3*v + int(near[n]) + 1 + x%2) >> 2)
			} else {
				to[x] = uint8(v)
			}
		}
	case c.RatioX == 1 && c.RatioY == 2:
		other := row(rowNextTo(y, c.Height))
		for x := range to {
			to[x] = uint8((3*int(near[x]) + int(other[x]) + 1 + y%2) >> 2)
		}
	case c.RatioX == 2 && c.RatioY == 2 && c.Width > 2:
		other := row(rowNextTo(y, c.Height))
		column := func(i int) int { return 3*int(near[i]) + int(other[i]) }
		for x := range to {
			n, _ := nextTo(x, c.Width)
			to[x] = uint8((3*column(x/2) + column(n) + 8 - x%2) >> 4)
		}
	default:
		for x := range to {
			to[x] = near[x/c.RatioX]
		}
	}
}

// nextTo is the sample of a halved row that is next nearest to pixel x: left of even ones, right of odd ones. At an edge it is
// the nearest itself, and false.
func nextTo(x, width int) (int, bool) {
	n := x/2 - 1 + 2*(x%2)
	if n < 0 || n >= width {
		return x / 2, false
	}
	return n, true
}

// rowNextTo is nextTo for rows.
func rowNextTo(y, height int) int {
	n, _ := nextTo(y, height)
	return n
}
