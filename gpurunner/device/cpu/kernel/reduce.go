package kernel

import "math"

// tree adds lanes, a power of two of them, upper half onto lower half.
func tree(lanes []float32) float32 {
	for n := len(lanes) / 2; n > 0; n /= 2 {
		for j := range n {
			lanes[j] += lanes[j+n]
		}
	}
	return lanes[0]
}

func sumGeneric(x []float32) float32 {
	var lanes [64]float32
	for i, v := range x {
		lanes[i&63] += v
	}
	return tree(lanes[:])
}

func sumSquaresGeneric(x []float32) float32 { return dotGeneric(x, x) }

func sumSquaresFromGeneric(x []float32, mean float32) float32 {
	var lanes [64]float32
	for i, v := range x {
		d := v - mean
		lanes[i&63] += float32(d * d)
	}
	return tree(lanes[:])
}

func dotGeneric(x, y []float32) float32 {
	y = y[:len(x)]
	var lanes [64]float32
	for i, v := range x {
		lanes[i&63] += float32(v * y[i])
	}
	return tree(lanes[:])
}

func maxGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func expSumGeneric(y, x []float32, scale, shift float32) float32 {
	x = x[:len(y)]
	var lanes [16]float32
	for i := range y {
		e := exp32(float32(scale*x[i]) - shift)
		y[i] = e
		lanes[i&15] += e
	}
	return tree(lanes[:])
}

func softmaxBackGeneric(dx, p, dp []float32, dot, scale float32) {
	p, dp = p[:len(dx)], dp[:len(dx)]
	for i := range dx {
		dx[i] = p[i] * (dp[i] - dot) * scale
	}
}
