package dataset

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// drawFace paints the light and dark of a face of a radius around (cx, cy): what
// a cascade of brightness comparisons looks for.
func drawFace(p *imageops.Picture, cx, cy, radius float64) {
	soft := func(x, y, ex, ey, rx, ry float64) float64 {
		d := math.Hypot((x-ex)/rx, (y-ey)/ry)
		return 1 / (1 + math.Exp(12*(d-1)))
	}
	for py := range p.Height {
		for px := range p.Width {
			x, y := (float64(px)-cx)/radius, (float64(py)-cy)/radius
			skin := soft(x, y, 0, 0, 0.78, 1)
			if skin < 0.02 {
				continue
			}
			v := 200.0
			v -= 70 * soft(x, y, 0, -0.85, 0.9, 0.35) // hair
			for _, side := range []float64{-1, 1} {
				v -= 70 * soft(x, y, side*0.32, -0.22, 0.2, 0.14)  // eye sockets
				v -= 110 * soft(x, y, side*0.32, -0.2, 0.1, 0.07)  // eyes
				v -= 80 * soft(x, y, side*0.34, -0.38, 0.24, 0.05) // brows
				v += 20 * soft(x, y, side*0.4, 0.2, 0.2, 0.2)      // cheeks
				v -= 40 * soft(x, y, side*0.1, 0.25, 0.06, 0.04)   // nostrils
				v -= 40 * soft(x, y, side*0.75, 0.2, 0.2, 0.9)     // sides
			}
			v += 25 * soft(x, y, 0, 0.05, 0.08, 0.25) // nose
			v -= 70 * soft(x, y, 0, 0.52, 0.28, 0.07) // mouth
			v -= 25 * soft(x, y, 0, 0.95, 0.5, 0.2)   // chin
			at := 3 * (py*p.Width + px)
			for c, tint := range []float64{1, 0.85, 0.75} {
				p.Pix[at+c] = uint8(math.Max(0, math.Min(255, skin*v*tint+(1-skin)*float64(p.Pix[at+c]))))
			}
		}
	}
}

func backdrop(w, h int) *imageops.Picture {
	p := imageops.New(w, h)
	for i := range p.Pix {
		p.Pix[i] = 90
	}
	return p
}

func TestFindFaces(t *testing.T) {
	p := backdrop(300, 240)
	drawFace(p, 100, 130, 70)
	faces, err := findFaces(gray(p), p.Width, p.Height)
	if err != nil {
		t.Fatal(err)
	}
	if len(faces) != 1 {
		t.Fatalf("%d faces, want 1", len(faces))
	}
	f := faces[0]
	if math.Abs(f.X*300-100) > 20 || math.Abs(f.Y*240-130) > 25 || f.RX*300 < 30 || f.RX*300 > 90 {
		t.Errorf("a face at (%.0f, %.0f) of half width %.0f, want (100, 130) and about 60", f.X*300, f.Y*240, f.RX*300)
	}
	if faces, err := findFaces(gray(backdrop(300, 240)), 300, 240); err != nil || len(faces) != 0 {
		t.Errorf("%d faces on a plain wall (%v)", len(faces), err)
	}
	if _, err := findFaces([]uint8{1, 2, 3, 4}, 2, 2); err != nil {
		t.Errorf("a picture of 2×2: %v", err)
	}
}

// TestFaceMask: the mask covers the face of the cropped picture, fades
// smoothly, and follows the picture when it is mirrored.
func TestFaceMask(t *testing.T) {
	with, without := backdrop(360, 240), backdrop(240, 240)
	drawFace(with, 120, 120, 60)
	data := makeZip(t, entry{name: "with.png", data: encode(t, with)}, entry{name: "without.png", data: encode(t, without)})
	s, err := loadZip(t, data, func(o *Options) { o.Resolution, o.Faces = 80, true })
	if err != nil {
		t.Fatal(err)
	}
	if s.Pictures[1].Mask != nil {
		t.Error("a mask without a face")
	}
	if !slices.ContainsFunc(s.Notes, func(n string) bool {
		return strings.Contains(n, `no face was found, so these are trained without a mask: "without.png"`)
	}) {
		t.Errorf("no note of the missing face: %q", s.Notes)
	}
	mask := s.Pictures[0].Mask
	if mask == nil {
		t.Fatal("no mask")
	}
	// The middle square begins at 60 of 360: the face is at (60, 120) of 240.
	at := func(x, y int) uint8 { return mask[y*80+x] }
	if at(20, 40) != 255 || at(75, 40) != 0 || at(75, 5) != 0 {
		t.Errorf("mask %d on the face, %d and %d far from it", at(20, 40), at(75, 40), at(75, 5))
	}
	for x := 21; x < 80; x++ {
		if at(x, 40) > at(x-1, 40) || int(at(x-1, 40))-int(at(x, 40)) > 60 {
			t.Errorf("the mask jumps from %d to %d at %d", at(x-1, 40), at(x, 40), x)
		}
	}
	m := (View{Image: s.Pictures[0].Image, Mask: mask}).Mirror()
	if m.Mask[40*80+59] != at(20, 40) || m.Mask[40*80+4] != at(75, 40) || !m.Flipped {
		t.Error("the mask was not mirrored with its picture")
	}
	plain, err := loadZip(t, data, func(o *Options) { o.Resolution = 80 })
	if err != nil || plain.Pictures[0].Mask != nil {
		t.Errorf("a mask without being asked for (%v)", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := load(ctx, "zip", []file{{name: "a.png"}}, Options{Resolution: 8, Limits: DefaultLimits()}); err == nil {
		t.Error("reading went on after its context ended")
	}
}
