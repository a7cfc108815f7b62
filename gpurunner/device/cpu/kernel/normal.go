package kernel

import "math"

// Normals fills dst with standard normal numbers first, first+1, … of a
// stream, by Box and Muller's transform: numbers 2i and 2i+1 come from words
// 2i and 2i+1 of d. Its logarithm, sine and cosine are products and sums
// rounded one by one, so that every machine and device draws the same bits.
func Normals(dst []float32, d Draw, first uint64) {
	var pair [4]float32
	for len(dst) > 0 {
		b := d.Block(uint32(first / 4))
		pair[0], pair[1] = boxMuller(b[0], b[1])
		pair[2], pair[3] = boxMuller(b[2], b[3])
		n := copy(dst, pair[first%4:])
		dst = dst[n:]
		first += uint64(n)
	}
}

var (
	logPoly = [4]float32{0.666666627, 0.400009722, 0.284988284, 0.242772192}
	sinPoly = [4]float32{1.57079637, -0.645966768, 0.0797143057, -0.00469148112}
	cosPoly = [4]float32{-1.23370051, 0.253668517, -0.0208552536, 0.00089357252}
)

// boxMuller turns the upper 24 bits of two words into two normal numbers: a
// gives the radius √(−2·log u), u in (0,1], b the angle.
func boxMuller(a, b uint32) (float32, float32) {
	u := float32(a>>8+1) * (1.0 / (1 << 24))
	radius := float32(math.Sqrt(float64(-2 * log32(u))))
	sin, cos := sinCosTurn(b >> 8)
	return float32(radius * cos), float32(radius * sin)
}

// log32 is the natural logarithm of a normal positive number.
func log32(u float32) float32 {
	bits := math.Float32bits(u)
	const sqrtHalfBits = 0x3f3504f3
	e := int32(bits-sqrtHalfBits) >> 23 // u = m·2^e, m in [√½,√2)
	m := math.Float32frombits(bits - uint32(e)<<23)
	f := m - 1
	s := f / (2 + f)
	s2 := float32(s * s)
	p := float32(horner(logPoly[:], s2)*s2) * s
	n := float32(e)
	p += float32(n * ln2Lo)
	p += float32(2 * s)
	return p + float32(n*ln2Hi)
}

// sinCosTurn returns sine and cosine of t·2π/2²⁴.
func sinCosTurn(t uint32) (sin, cos float32) {
	quarter := (t + 1<<21) >> 22
	x := float32(int32(t)-int32(quarter<<22)) * (1.0 / (1 << 22)) // of a quarter turn, |x| ≤ 1/2
	x2 := float32(x * x)
	sin = float32(horner(sinPoly[:], x2) * x)
	cos = float32(horner(cosPoly[:], x2)*x2) + 1
	switch quarter & 3 {
	case 1:
		return cos, -sin
	case 2:
		return -sin, -cos
	case 3:
		return -cos, sin
	}
	return sin, cos
}
