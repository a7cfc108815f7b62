package train

import "math"

// latentMasks makes loss masks of pictures' masks, as the original does: a mask
// of bytes u [H,W] stands for u/255 + 0.5; it is taken at every factor-th pixel,
// raised to a power after adding 0.01, and divided by the batch's largest value.
// With normalize each sample's is then scaled so that its squares have the mean
// 1. nil masks, of pictures without a face, weigh all alike.
func latentMasks(masks [][]uint8, width, height, factor int, temperature float64, normalize bool) []float32 {
	w, h := width/factor, height/factor
	out := make([]float32, len(masks)*h*w)
	top := 0.0
	for n, m := range masks {
		for y := range h {
			for x := range w {
				u := 1.0
				if m != nil {
					u = float64(m[y*factor*width+x*factor])/255 + 0.5
				}
				v := math.Pow(u+0.01, temperature)
				out[(n*h+y)*w+x] = float32(v)
				top = math.Max(top, v)
			}
		}
	}
	for i, v := range out {
		out[i] = float32(float64(v) / top)
	}
	if normalize {
		for n := range masks {
			part := out[n*h*w : (n+1)*h*w]
			sum := 0.0
			for _, v := range part {
				sum += float64(v) * float64(v)
			}
			scale := math.Sqrt(float64(len(part)) / sum)
			for i, v := range part {
				part[i] = float32(float64(v) * scale)
			}
		}
	}
	return out
}
