package likeness

import (
	"math"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

type rgb [3]uint8

// paint fills where inside says so.
func paint(ground, colour rgb, inside func(x, y float64) bool) *imageops.Picture {
	p := imageops.New(96, 96)
	for i := range 96 * 96 {
		c := ground
		if inside(float64(i%96)/96, float64(i/96)/96) {
			c = colour
		}
		copy(p.Pix[3*i:], c[:])
	}
	return p
}

func disc(cx, cy, r float64) func(x, y float64) bool {
	return func(x, y float64) bool { return math.Hypot(x-cx, y-cy) < r }
}

func bar(x, y float64) bool { return x > 0.4 && x < 0.6 && y > 0.1 && y < 0.9 }

func flag(x, y float64) bool { return bar(x, y) || x >= 0.6 && x < 0.9 && y > 0.1 && y < 0.4 }

func TestStyle(t *testing.T) {
	night, day := rgb{10, 10, 50}, rgb{240, 240, 240}
	style := func(p ...*imageops.Picture) *Style {
		s, err := NewStyle(p...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	neon := style(paint(night, rgb{80, 255, 200}, disc(0.5, 0.5, 0.3)), paint(night, rgb{80, 255, 200}, bar))
	same := style(paint(night, rgb{80, 255, 200}, flag))
	other := style(paint(day, rgb{200, 30, 30}, flag))
	if d := neon.Distance(neon); d != 0 {
		t.Errorf("a style is %v from itself", d)
	}
	near, far := neon.Distance(same), neon.Distance(other)
	if near > 5 || far < 20 {
		t.Errorf("the same style with another subject is %v away, another style with it %v", near, far)
	}
	if d := other.Distance(neon); math.Abs(d-far) > 1e-9 {
		t.Errorf("%v one way, %v the other", far, d)
	}
	if _, err := NewStyle(); err == nil {
		t.Error("the style of nothing")
	}
}

func TestShape(t *testing.T) {
	shape := func(p *imageops.Picture) *Shape {
		s, err := NewShape(p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	white, black, red := rgb{255, 255, 255}, rgb{0, 0, 0}, rgb{255, 0, 0}
	f := shape(paint(white, red, flag))
	mirrored := paint(white, red, flag).Flip()
	tests := []struct {
		name   string
		p      *imageops.Picture
		lo, hi float64
	}{
		{"Itself", paint(white, red, flag), -1e-9, 1e-9},
		{"OtherColours", paint(black, rgb{80, 255, 200}, flag), 0, 0.02},
		{"Mirrored", mirrored, -1e-9, 0.02},
		{"SmallerAndElsewhere", paint(white, red, func(x, y float64) bool { return flag(x*1.5-0.2, y*1.5-0.3) }), 0, 0.1},
		{"Disc", paint(white, red, disc(0.5, 0.5, 0.3)), 0.3, 2},
		{"Bar", paint(white, red, func(x, y float64) bool { return bar(y, x) }), 0.3, 2},
		{"Nothing", paint(white, white, flag), 0.99, 1.01},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := f.Distance(shape(tt.p)); d < tt.lo || d > tt.hi {
				t.Errorf("distance %v, want %v to %v", d, tt.lo, tt.hi)
			}
		})
	}
}
