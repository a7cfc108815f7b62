package dataset

import (
	_ "embed"
	"fmt"
	"math"
	"sync"

	pigo "github.com/esimov/pigo/core"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

//go:embed pigo/facefinder
var cascade []byte

var faceFinder = sync.OnceValues(func() (*pigo.Pigo, error) {
	p, err := pigo.NewPigo().Unpack(cascade)
	if err != nil {
		return nil, fmt.Errorf("face cascade: %w", err)
	}
	return p, nil
})

// Face is where a face lies in a picture, in parts of its width and height.
type Face struct {
	X, Y   float64 // centre
	RX, RY float64 // half axes of the ellipse around it
}

// The search: windows of at least a twelfth of the shorter side, moved by a
// tenth of their size and grown by a tenth. A cluster of hits whose scores sum
// to less than minScore is mostly a false alarm.
const (
	smallestFace = 12
	minScore     = 5
)

// findFaces looks for upright faces in a grey picture of w×h.
func findFaces(gray []uint8, w, h int) ([]Face, error) {
	finder, err := faceFinder()
	if err != nil {
		return nil, err
	}
	short := min(w, h)
	hits := finder.RunCascade(pigo.CascadeParams{
		MinSize: max(20, short/smallestFace), MaxSize: short, ShiftFactor: 0.1, ScaleFactor: 1.1,
		ImageParams: pigo.ImageParams{Pixels: gray, Rows: h, Cols: w, Dim: w},
	}, 0)
	var faces []Face
	for _, d := range finder.ClusterDetections(hits, 0.2) {
		if d.Q < minScore {
			continue
		}
		s := float64(d.Scale)
		faces = append(faces, Face{
			X: float64(d.Col) / float64(w), Y: float64(d.Row) / float64(h),
			// The cascade's square runs from the brows to the chin.
			RX: 0.55 * s / float64(w), RY: 0.7 * s / float64(h),
		})
	}
	return faces, nil
}

// crop is the part of a scaled picture that is kept: w×h pixels at (x, y) of
// fullW×fullH.
type crop struct{ x, y, w, h, fullW, fullH int }

// ellipseMask draws the faces as soft ellipses: 255 inside, falling smoothly to
// 0 at twice the distance from the centre.
func ellipseMask(faces []Face, c crop) []uint8 {
	mask := make([]uint8, c.w*c.h)
	for y := range c.h {
		py := (float64(c.y+y) + 0.5) / float64(c.fullH)
		for x := range c.w {
			px := (float64(c.x+x) + 0.5) / float64(c.fullW)
			best := 0.0
			for _, f := range faces {
				dx, dy := (px-f.X)/f.RX, (py-f.Y)/f.RY
				best = math.Max(best, soft(math.Sqrt(dx*dx+dy*dy)))
			}
			mask[y*c.w+x] = uint8(math.Round(255 * best))
		}
	}
	return mask
}

// soft is 1 up to 1 and 0 from 2 on, with a smooth step between.
func soft(d float64) float64 {
	t := math.Min(math.Max(2-d, 0), 1)
	return t * t * (3 - 2*t)
}

// gray returns a picture's brightness, [H,W].
func gray(p *imageops.Picture) []uint8 {
	out := make([]uint8, p.Width*p.Height)
	for i := range out {
		out[i] = uint8((299*int(p.Pix[3*i]) + 587*int(p.Pix[3*i+1]) + 114*int(p.Pix[3*i+2]) + 500) / 1000)
	}
	return out
}
