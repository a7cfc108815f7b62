package kernel

// Draw addresses a stream of 32-bit random numbers: number i is word i mod 4
// of Philox4x32-10 under Key at the counter (Counter, i/4).
type Draw struct {
	Key     uint64
	Counter [3]uint32
}

// Block returns numbers 4·i … 4·i+3: Philox4x32-10 of Salmon, Moraes, Dror and
// Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11).
func (d Draw) Block(i uint32) [4]uint32 {
	c0, c1, c2, c3 := d.Counter[0], d.Counter[1], d.Counter[2], i
	k0, k1 := uint32(d.Key), uint32(d.Key>>32)
	for range 10 {
		p0 := uint64(c0) * 0xD2511F53
		p1 := uint64(c2) * 0xCD9E8D57
		c0, c1, c2, c3 = uint32(p1>>32)^c1^k0, uint32(p1), uint32(p0>>32)^c3^k1, uint32(p0)
		k0 += 0x9E3779B9
		k1 += 0xBB67AE85
	}
	return [4]uint32{c0, c1, c2, c3}
}

func philoxGeneric(dst []uint32, d Draw, first uint64) {
	for len(dst) > 0 {
		b := d.Block(uint32(first / 4))
		n := copy(dst, b[first%4:])
		dst = dst[n:]
		first += uint64(n)
	}
}

func dropoutGeneric(y, x []float32, d Draw, first uint64, threshold uint32, scale float32) {
	x = x[:len(y)]
	var b [4]uint32
	for i := range y {
		n := first + uint64(i)
		if i == 0 || n%4 == 0 {
			b = d.Block(uint32(n / 4))
		}
		if b[n%4] >= threshold {
			y[i] = x[i] * scale
		} else {
			y[i] = 0
		}
	}
}
