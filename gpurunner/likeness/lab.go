package likeness

import (
	"math"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// side is the size at which pictures are compared.
const side = 64

// lab is a picture in CIELAB, [side·side][3], L from 0 to 100.
type lab [][3]float64

// toLab scales a picture to side×side and converts it from sRGB (D65).
func toLab(p *imageops.Picture) (lab, error) {
	p, err := p.Resize(side, side, imageops.Bilinear)
	if err != nil {
		return nil, err
	}
	out := make(lab, side*side)
	for i := range out {
		var rgb [3]float64
		for c := range 3 {
			v := float64(p.Pix[3*i+c]) / 255
			if v <= 0.04045 {
				v /= 12.92
			} else {
				v = math.Pow((v+0.055)/1.055, 2.4)
			}
			rgb[c] = v
		}
		f := func(r, g, b, white float64) float64 {
			t := (r*rgb[0] + g*rgb[1] + b*rgb[2]) / white
			if t > 216.0/24389 {
				return math.Cbrt(t)
			}
			return (24389.0/27*t + 16) / 116
		}
		x, y, z := f(0.4124, 0.3576, 0.1805, 0.9505), f(0.2126, 0.7152, 0.0722, 1), f(0.0193, 0.1192, 0.9505, 1.089)
		out[i] = [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
	}
	return out, nil
}
