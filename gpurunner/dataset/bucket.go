package dataset

import "math"

// Size is a picture's size in pixels.
type Size struct{ W, H int }

// Buckets lists the sizes of aspect-ratio buckets around a resolution: sides
// that are multiples of step, at most maxAspect apart, of as many pixels as fit
// into resolution². The square comes first.
func Buckets(resolution, step int) []Size {
	const maxAspect = 2.0
	area := resolution * resolution
	sizes := []Size{{resolution, resolution}}
	for w := step; w <= int(float64(resolution)*math.Sqrt(maxAspect)); w += step {
		h := area / w / step * step
		if h < step || w == h && w == resolution {
			continue
		}
		if a := float64(w) / float64(h); a <= maxAspect && a >= 1/maxAspect {
			sizes = append(sizes, Size{w, h})
		}
	}
	return sizes
}

// nearest picks the size whose aspect ratio is nearest to w:h.
func nearest(sizes []Size, w, h int) Size {
	best, distance := sizes[0], math.Inf(1)
	want := math.Log(float64(w) / float64(h))
	for _, s := range sizes {
		if d := math.Abs(math.Log(float64(s.W)/float64(s.H)) - want); d < distance-1e-9 {
			best, distance = s, d
		}
	}
	return best
}
