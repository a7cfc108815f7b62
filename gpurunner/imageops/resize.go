package imageops

import (
	"fmt"
	"math"
)

// Filter is a resampling kernel.
type Filter struct {
	support float64 // it is 0 beyond, at the scale of the larger picture's pixels
	weight  func(x float64) float64
}

// The kernels. Both widen when a picture shrinks (antialiasing).
var (
	Bilinear = Filter{1, func(x float64) float64 { return math.Max(0, 1-math.Abs(x)) }}
	Lanczos  = Filter{3, lanczos}
)

func lanczos(x float64) float64 {
	if x < -3 || x >= 3 {
		return 0
	}
	return sinc(x) * sinc(x/3)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// MaxSide bounds the sides of a resized picture.
const MaxSide = 1 << 16

// Resize resamples to a size: columns first, then rows, each rounded to bytes, in fixed point of 22 bits, as Pillow does.
func (p *Picture) Resize(width, height int, f Filter) (*Picture, error) {
	if width < 1 || height < 1 || width > MaxSide || height > MaxSide {
		return nil, fmt.Errorf("cannot resize a picture of %d×%d to %d×%d", p.Width, p.Height, width, height)
	}
	out := p
	if width != p.Width {
		out = p.resizeColumns(kernels(p.Width, width, f))
	}
	if height != p.Height {
		out = out.resizeRows(kernels(p.Height, height, f))
	}
	if out == p {
		out = &Picture{p.Width, p.Height, append([]uint8(nil), p.Pix...)}
	}
	return out, nil
}

// ResizeShorter makes the shorter side as long as asked (antialiased bilinear) and keeps the ratio; the longer side is
// truncated, as torchvision's Resize does.
func (p *Picture) ResizeShorter(side int) (*Picture, error) {
	w, h := side, side
	if p.Width <= p.Height {
		h = int(float64(side*p.Height) / float64(p.Width))
	} else {
		w = int(float64(side*p.Width) / float64(p.Height))
	}
	return p.Resize(w, h, Bilinear)
}

// ResizeToMultiple shrinks both sides to a multiple of m with Lanczos: what the diffusers pipelines do to the picture of
// image→image, m = 8, and those of 0.11.1, m = 32. A side shorter than m is an error.
func (p *Picture) ResizeToMultiple(m int) (*Picture, error) {
	w, h := p.Width-p.Width%m, p.Height-p.Height%m
	if w < 1 || h < 1 {
		return nil, fmt.Errorf("the picture is %d×%d; both sides must be at least %d", p.Width, p.Height, m)
	}
	return p.Resize(w, h, Lanczos)
}

// kernel is what one output pixel takes: weights of the input pixels from first on.
type kernel struct {
	first   int
	weights []int32
}

const precision = 32 - 8 - 2 // bits of a weight's fraction: a sum of 8-bit pixels fits, with a sign and one to spare

func kernels(from, to int, f Filter) []kernel {
	scale := float64(from) / float64(to)
	wide := math.Max(scale, 1)
	support := f.support * wide
	out := make([]kernel, to)
	for i := range out {
		centre := (float64(i) + 0.5) * scale
		first := max(int(float64(centre-support)+0.5), 0)
		end := min(int(float64(centre+support)+0.5), from)
		weights := make([]float64, end-first)
		sum := 0.0
		for j := range weights {
			// The float64() conversions keep compilers from fusing, so that all platforms round alike.
			weights[j] = f.weight(float64(float64(float64(j+first)-centre)+0.5) * (1 / wide))
			sum += weights[j]
		}
		k := kernel{first, make([]int32, len(weights))}
		for j, w := range weights {
			k.weights[j] = int32(math.Round(w / sum * (1 << precision)))
		}
		out[i] = k
	}
	return out
}

func clip(sum int32) uint8 { return uint8(min(max(sum>>precision, 0), 255)) }

func (p *Picture) resizeColumns(ks []kernel) *Picture {
	out := New(len(ks), p.Height)
	for y := range p.Height {
		from, to := p.Row(y), out.Row(y)
		for x, k := range ks {
			r, g, b := int32(1)<<(precision-1), int32(1)<<(precision-1), int32(1)<<(precision-1)
			for j, w := range k.weights {
				px := from[3*(k.first+j) : 3*(k.first+j)+3]
				r += w * int32(px[0])
				g += w * int32(px[1])
				b += w * int32(px[2])
			}
			to[3*x], to[3*x+1], to[3*x+2] = clip(r), clip(g), clip(b)
		}
	}
	return out
}

func (p *Picture) resizeRows(ks []kernel) *Picture {
	out := New(p.Width, len(ks))
	sums := make([]int32, 3*p.Width)
	for y, k := range ks {
		for i := range sums {
			sums[i] = 1 << (precision - 1)
		}
		for j, w := range k.weights {
			for i, v := range p.Row(k.first + j) {
				sums[i] += w * int32(v)
			}
		}
		to := out.Row(y)
		for i, s := range sums {
			to[i] = clip(s)
		}
	}
	return out
}
