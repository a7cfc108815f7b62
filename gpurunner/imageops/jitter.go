package imageops

// Brightness scales every value by a factor, as Pillow's ImageEnhance does: 1 changes nothing, 0 is black.
func (p *Picture) Brightness(factor float64) *Picture { return p.blend(0, factor) }

// Contrast moves every value away from the picture's mean brightness by a factor: 1 changes nothing, 0 is plain grey.
func (p *Picture) Contrast(factor float64) *Picture {
	sum := 0
	for i := 0; i < len(p.Pix); i += 3 {
		sum += int(luma(p.Pix[i], p.Pix[i+1], p.Pix[i+2]))
	}
	mean := float64(sum) / float64(len(p.Pix)/3)
	return p.blend(uint8(int(mean+0.5)), factor)
}

// luma is ITU-R 601-2 brightness in 16-bit fixed point.
func luma(r, g, b uint8) uint8 {
	return uint8((uint32(r)*19595 + uint32(g)*38470 + uint32(b)*7471 + 0x8000) >> 16)
}

// blend is base + factor·(value - base) in float32, truncated to bytes.
func (p *Picture) blend(base uint8, factor float64) *Picture {
	var table [256]uint8
	for v := range table {
		x := float32(base) + float32(float32(factor)*float32(v-int(base)))
		switch {
		case x >= 255:
			table[v] = 255
		case x > 0:
			table[v] = uint8(x)
		}
	}
	out := New(p.Width, p.Height)
	for i, v := range p.Pix {
		out.Pix[i] = table[v]
	}
	return out
}
