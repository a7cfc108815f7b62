package likeness

import (
	"fmt"
	"math"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// Style is the look of a set of pictures, whatever they show: how lightness,
// the two colour axes and the steepness of edges are distributed over their
// pixels, together.
type Style struct {
	quantiles [][]float64 // [direction][quantile]
}

// features are what a pixel contributes: L, a, b and the size of the gradient of
// L, at about equal weight.
const features = 4

// directions are the axes along which distributions are compared: the four
// features, and all sums and differences of two and of four of them.
var directions = func() [][features]float64 {
	var out [][features]float64
	for code := range 81 { // -1, 0 or 1 for each
		var d [features]float64
		n := 0
		for i, c := 0, code; i < features; i, c = i+1, c/3 {
			if d[i] = float64(c%3 - 1); d[i] != 0 {
				n++
			}
		}
		first := slices.IndexFunc(d[:], func(v float64) bool { return v != 0 })
		if n == 0 || n == 3 || d[first] < 0 {
			continue
		}
		for i := range d {
			d[i] /= math.Sqrt(float64(n))
		}
		out = append(out, d)
	}
	return out
}()

const quantiles = 64

// NewStyle measures the look of pictures taken together.
func NewStyle(pictures ...*imageops.Picture) (*Style, error) {
	if len(pictures) == 0 {
		return nil, fmt.Errorf("likeness: the style of no pictures")
	}
	var pixels [][features]float64
	for _, p := range pictures {
		l, err := toLab(p)
		if err != nil {
			return nil, err
		}
		pixels = append(pixels, l.features()...)
	}
	s := &Style{}
	values := make([]float64, len(pixels))
	for _, d := range directions {
		for i, p := range pixels {
			v := 0.0
			for f := range features {
				v += d[f] * p[f]
			}
			values[i] = v
		}
		slices.Sort(values)
		q := make([]float64, quantiles)
		for i := range q {
			q[i] = values[(2*i+1)*len(values)/(2*quantiles)]
		}
		s.quantiles = append(s.quantiles, q)
	}
	return s, nil
}

func (l lab) features() [][features]float64 {
	out := make([][features]float64, len(l))
	at := func(x, y int) float64 { return l[min(max(y, 0), side-1)*side+min(max(x, 0), side-1)][0] }
	for i, c := range l {
		x, y := i%side, i/side
		gx, gy := at(x+1, y)-at(x-1, y), at(x, y+1)-at(x, y-1)
		out[i] = [features]float64{c[0], c[1], c[2], math.Hypot(gx, gy)}
	}
	return out
}

// Distance is the sliced Wasserstein distance (Rabin et al. 2011) between two
// looks: how far, on average, pixels would have to be moved in Lab units to
// make one of the other. A few units are near; unlike styles are 20 and more
// apart.
func (s *Style) Distance(o *Style) float64 {
	sum := 0.0
	for d := range s.quantiles {
		for i, v := range s.quantiles[d] {
			sum += math.Abs(v - o.quantiles[d][i])
		}
	}
	return sum / float64(len(directions)*quantiles)
}
