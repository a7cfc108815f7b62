package generate

import (
	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// values returns a picture in [-1,1], [H·W·3].
func values(p *imageops.Picture) []float32 {
	v := make([]float32, len(p.Pix))
	for i, u := range p.Pix {
		// As torch does it: x/255, then 2x−1.
		v[i] = float32(2*float32(float32(u)/255)) - 1
	}
	return v
}

// fromValues rounds values in [-1,1] to a picture.
func fromValues(v []float32, w, h int) *imageops.Picture {
	p := imageops.New(w, h)
	for i, x := range v {
		x = float32(x*0.5) + 0.5
		switch {
		case x >= 1:
			p.Pix[i] = 255
		case x > 0:
			p.Pix[i] = roundHalfEven(float32(x * 255))
		}
	}
	return p
}

// roundHalfEven rounds as NumPy does.
func roundHalfEven(x float32) uint8 {
	n := uint8(x)
	switch r := x - float32(n); {
	case r > 0.5, r == 0.5 && n%2 == 1:
		n++
	}
	return n
}
