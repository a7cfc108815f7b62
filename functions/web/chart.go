package web

import (
	"fmt"
	"math"
	"strings"
)

// chart is a loss curve as SVG paths in a box of chartWidth × chartHeight, which the page stretches.
type chart struct {
	Raw, Smooth   string      // path data
	Stages        []stageMark // where later stages begin
	High, Low     string      // the axis
	First, Last   string      // of the smoothed curve
	Done, Steps   int
	Width, Height int
}

// stageMark is where a stage begins.
type stageMark struct {
	X    float64 // in the box
	At   float64 // in percent of its width
	Step int
}

const (
	chartWidth  = 600
	chartHeight = 150
	chartPoints = 300 // more are averaged
)

// chartOf draws the losses of a log; nil when there are fewer than three.
func chartOf(c course) *chart {
	type point struct{ x, y float64 }
	var points []point
	var splits []float64
	base, stage, total, done := 0, 0, 0, 0
	for _, s := range c.steps {
		if s.stage != stage {
			base, stage = base+total, s.stage
			if len(points) > 0 {
				splits = append(splits, float64(base))
			}
		}
		total, done = s.total, base+s.done
		if s.hasLoss {
			points = append(points, point{float64(base + s.done), s.loss})
		}
	}
	if len(points) < 3 {
		return nil
	}
	if n := len(points); n > chartPoints {
		per := (n + chartPoints - 1) / chartPoints
		var fewer []point
		for i := 0; i < n; i += per {
			part := points[i:min(i+per, n)]
			var p point
			for _, q := range part {
				p.x += q.x / float64(len(part))
				p.y += q.y / float64(len(part))
			}
			fewer = append(fewer, p)
		}
		points = fewer
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		lo, hi = min(lo, p.y), max(hi, p.y)
	}
	if hi-lo < 1e-9 {
		lo, hi = lo-0.5, hi+0.5
	}
	end := float64(base + total)
	x := func(v float64) float64 { return v / end * chartWidth }
	y := func(v float64) float64 { return 4 + (hi-v)/(hi-lo)*(chartHeight-8) }
	out := &chart{High: short(hi), Low: short(lo), Done: done, Steps: base + total, Width: chartWidth, Height: chartHeight}
	var raw, smooth strings.Builder
	mean, weight := 0.0, 0.0
	for i, p := range points {
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		// Exponential smoothing, corrected for its start.
		mean, weight = 0.85*mean+0.15*p.y, 0.85*weight+0.15
		fmt.Fprintf(&raw, "%s%.1f %.1f", verb, x(p.x), y(p.y))
		fmt.Fprintf(&smooth, "%s%.1f %.1f", verb, x(p.x), y(mean/weight))
		if i == 0 {
			out.First = short(mean / weight)
		}
	}
	out.Last = short(mean / weight)
	out.Raw, out.Smooth = raw.String(), smooth.String()
	for _, s := range splits {
		out.Stages = append(out.Stages, stageMark{X: math.Round(x(s)*10) / 10, At: math.Round(s/end*1000) / 10, Step: int(s)})
	}
	return out
}

// short writes a loss with three digits.
func short(v float64) string {
	if v != 0 && math.Abs(v) < 0.001 {
		return fmt.Sprintf("%.1e", v)
	}
	return fmt.Sprintf("%.3f", v)
}
