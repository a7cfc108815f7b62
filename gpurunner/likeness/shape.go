package likeness

import (
	"math"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// Shape is where a picture differs from its ground: the subject's outline and
// filling, whatever its colours, blurred, centred and scaled to one size.
type Shape struct {
	grid []float64 // [cells·cells], of norm 1 with mean 0
}

const (
	cells = 32
	blur  = 1.2 // cells
)

// NewShape measures the shape of a picture's subject. The ground is the median
// colour of the picture's border.
func NewShape(p *imageops.Picture) (*Shape, error) {
	l, err := toLab(p)
	if err != nil {
		return nil, err
	}
	difference := l.fromGround()
	return &Shape{normal(blurred(centred(difference)))}, nil
}

// fromGround is each pixel's distance from the border's median colour, 0 to 1:
// from 30 Lab units on, all differences count alike.
func (l lab) fromGround() []float64 {
	var ground [3]float64
	for c := range 3 {
		var border []float64
		for i := range side {
			for _, at := range []int{i, (side-1)*side + i, i * side, i*side + side - 1} {
				border = append(border, l[at][c])
			}
		}
		slices.Sort(border)
		ground[c] = border[len(border)/2]
	}
	out := make([]float64, len(l))
	for i, c := range l {
		d := math.Sqrt((c[0]-ground[0])*(c[0]-ground[0]) + (c[1]-ground[1])*(c[1]-ground[1]) + (c[2]-ground[2])*(c[2]-ground[2]))
		out[i] = math.Min(d/30, 1)
	}
	return out
}

// centred resamples so that the subject's centre of mass is in the middle and
// its spread, along either axis, a quarter of the side.
func centred(v []float64) []float64 {
	var m, mx, my, vx, vy float64
	for i, w := range v {
		w *= w // faint differences do not move the frame
		m, mx, my = m+w, mx+w*float64(i%side), my+w*float64(i/side)
	}
	if m == 0 {
		return make([]float64, cells*cells)
	}
	mx, my = mx/m, my/m
	for i, w := range v {
		dx, dy := float64(i%side)-mx, float64(i/side)-my
		vx, vy = vx+w*w*dx*dx, vy+w*w*dy*dy
	}
	spread := math.Max(math.Sqrt((vx+vy)/(2*m)), 2)
	scale := spread / (cells / 4)
	out := make([]float64, cells*cells)
	at := func(x, y int) float64 {
		if x < 0 || y < 0 || x >= side || y >= side {
			return 0
		}
		return v[y*side+x]
	}
	for i := range out {
		x := mx + (float64(i%cells)-(cells-1)/2.0)*scale
		y := my + (float64(i/cells)-(cells-1)/2.0)*scale
		x0, y0 := int(math.Floor(x)), int(math.Floor(y))
		fx, fy := x-float64(x0), y-float64(y0)
		out[i] = (1-fy)*((1-fx)*at(x0, y0)+fx*at(x0+1, y0)) + fy*((1-fx)*at(x0, y0+1)+fx*at(x0+1, y0+1))
	}
	return out
}

func blurred(v []float64) []float64 {
	const reach = 4
	var weights [2*reach + 1]float64
	for i := range weights {
		d := float64(i-reach) / blur
		weights[i] = math.Exp(-d * d / 2)
	}
	pass := func(v []float64, stepX, stepY int) []float64 {
		out := make([]float64, len(v))
		for i := range v {
			sum, total := 0.0, 0.0
			for k, w := range weights {
				x, y := i%cells+(k-reach)*stepX, i/cells+(k-reach)*stepY
				if x >= 0 && y >= 0 && x < cells && y < cells {
					sum += w * v[y*cells+x]
				}
				total += w
			}
			out[i] = sum / total
		}
		return out
	}
	return pass(pass(v, 1, 0), 0, 1)
}

func normal(v []float64) []float64 {
	mean, norm := 0.0, 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for i := range v {
		v[i] -= mean
		norm += v[i] * v[i]
	}
	for i := range v {
		v[i] /= math.Max(math.Sqrt(norm), 1e-12)
	}
	return v
}

// Distance is 1 minus the correlation of two shapes, the better of the two
// ways round: 0 is equal, 1 unrelated.
func (s *Shape) Distance(o *Shape) float64 {
	same, mirrored := 0.0, 0.0
	for i, v := range s.grid {
		same += v * o.grid[i]
		mirrored += v * o.grid[i/cells*cells+cells-1-i%cells]
	}
	return 1 - math.Max(same, mirrored)
}
