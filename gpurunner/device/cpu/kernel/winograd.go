package kernel

// Winograd holds the transforms of F(2×2,3×3) (Lavin and Gray,
// arXiv:1509.09308). They are sums, differences and halves, each rounded once,
// in an order that all sets share: their results are equal to the bit.
//
// part is the distance of the 16 transformed parts, number 4·y+x, in elements.
type Winograd struct {
	// WinogradInput computes Bᵀ·d·B of one 4×4 tile for n channels: pixel
	// (y,x) of d is src[y·row+x·pixel:].
	WinogradInput func(dst []float32, part int, src []float32, pixel, row, n int)
	// WinogradWeights computes G·g·Gᵀ for n weights: position (y,x) of g is
	// src[(3·y+x)·tap:], mirrored src[(8−3·y−x)·tap:].
	WinogradWeights func(dst []float32, part int, src []float32, tap int, mirrored bool, n int)
	// WinogradOutput computes Aᵀ·m·A of one tile for n channels and writes
	// pixel (y,x) to dst[y·row+x·pixel:].
	WinogradOutput func(dst []float32, pixel, row int, src []float32, part, n int)
}

func winogradInputGeneric(dst []float32, part int, src []float32, pixel, row, n int) {
	for y, r := range [4]struct {
		a, b int
		sign float32
	}{{0, 2, -1}, {1, 2, 1}, {2, 1, -1}, {1, 3, -1}} {
		a, b, d := src[r.a*row:], src[r.b*row:], dst[4*y*part:]
		for c := range n {
			var t [4]float32
			for x := range t {
				t[x] = a[x*pixel+c] + float32(r.sign*b[x*pixel+c])
			}
			d[c] = t[0] - t[2]
			d[part+c] = t[1] + t[2]
			d[2*part+c] = t[2] - t[1]
			d[3*part+c] = t[1] - t[3]
		}
	}
}

func winogradWeightsGeneric(dst []float32, part int, src []float32, tap int, mirrored bool, n int) {
	thirds := func(a, b, c float32) (float32, float32) {
		s := a + c
		return float32(0.5 * (s + b)), float32(0.5 * (s - b))
	}
	for c := range n {
		var g [3][3]float32
		for i := range 9 {
			from := i
			if mirrored {
				from = 8 - i
			}
			g[i/3][i%3] = src[from*tap+c]
		}
		rows := [4][3]float32{0: g[0], 3: g[2]}
		for x := range 3 {
			rows[1][x], rows[2][x] = thirds(g[0][x], g[1][x], g[2][x])
		}
		for y, t := range rows {
			d := dst[4*y*part+c:]
			d[0], d[3*part] = t[0], t[2]
			d[part], d[2*part] = thirds(t[0], t[1], t[2])
		}
	}
}

func winogradOutputGeneric(dst []float32, pixel, row int, src []float32, part, n int) {
	for y := range 2 {
		m, d := src[4*y*part:], dst[y*row:]
		sign := float32(1 - 2*y)
		for c := range n {
			var s [4]float32
			for x := range s {
				s[x] = m[x*part+c] + float32(sign*m[(4+x)*part+c])
				s[x] += float32(sign * m[(8+x)*part+c])
			}
			d[c] = s[0] + s[1] + s[2]
			d[pixel+c] = s[1] - s[2] - s[3]
		}
	}
}
