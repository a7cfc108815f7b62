package jpeg

// The accurate integer inverse transform: Loeffler, Ligtenberg and Moschytz 1989, with the constants and the rounding that
// libjpeg gave it (13 bits of fraction, 2 of them kept between the passes), which everybody's pictures went through.
const (
	fraction = 13
	between  = 2

	c0298 = 2446  // 0.298631336 · 2¹³
	c0390 = 3196  // 0.390180644
	c0541 = 4433  // 0.541196100
	c0765 = 6270  // 0.765366865
	c0899 = 7373  // 0.899976223
	c1175 = 9633  // 1.175875602
	c1501 = 12299 // 1.501321110
	c1847 = 15137 // 1.847759065
	c1961 = 16069 // 1.961570560
	c2053 = 16819 // 2.053119869
	c2562 = 20995 // 2.562915447
	c3072 = 25172 // 3.072711026
)

// transform makes the planes of the coefficients.
func (d *decoder) transform() {
	for i := range d.picture.Components {
		c := &d.picture.Components[i]
		c.Stride = 8 * c.across
		c.Pix = make([]uint8, c.Stride*8*c.down)
		for j := range c.blocks {
			inverse(&c.blocks[j], c.quantizer, c.Pix[j/c.across*8*c.Stride+j%c.across*8:], c.Stride)
		}
		c.blocks = nil
	}
}

// inverse writes the 8×8 samples of a block.
func inverse(b *block, quantizer *[64]uint16, out []uint8, stride int) {
	var rows [64]int
	var in [8]int
	for x := range 8 {
		for y := range 8 {
			in[y] = int(b[8*y+x]) * int(quantizer[8*y+x])
		}
		line(&in, fraction-between)
		for y := range 8 {
			rows[8*y+x] = in[y]
		}
	}
	for y := range 8 {
		copy(in[:], rows[8*y:])
		line(&in, fraction+between+3)
		to := out[y*stride : y*stride+8]
		for x, v := range in {
			to[x] = uint8(min(max(v+128, 0), 255))
		}
	}
}

// line transforms eight values, shifting right by some bits with rounding.
func line(v *[8]int, shift int) {
	// Even part.
	z := (v[2] + v[6]) * c0541
	even2, even3 := z-v[6]*c1847, z+v[2]*c0765
	even0, even1 := (v[0]+v[4])<<fraction, (v[0]-v[4])<<fraction
	a0, a3 := even0+even3, even0-even3
	a1, a2 := even1+even2, even1-even2

	// Odd part.
	z1, z2, z3, z4 := v[7]+v[1], v[5]+v[3], v[7]+v[3], v[5]+v[1]
	z5 := (z3 + z4) * c1175
	z1, z2 = -z1*c0899, -z2*c2562
	z3, z4 = z5-z3*c1961, z5-z4*c0390
	b0 := v[7]*c0298 + z1 + z3
	b1 := v[5]*c2053 + z2 + z4
	b2 := v[3]*c3072 + z2 + z3
	b3 := v[1]*c1501 + z1 + z4

	half := 1 << (shift - 1)
	v[0], v[7] = (a0+b3+half)>>shift, (a0-b3+half)>>shift
	v[1], v[6] = (a1+b2+half)>>shift, (a1-b2+half)>>shift
	v[2], v[5] = (a2+b1+half)>>shift, (a2-b1+half)>>shift
	v[3], v[4] = (a3+b0+half)>>shift, (a3-b0+half)>>shift
}
