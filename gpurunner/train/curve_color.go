package train

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

var curveColors = map[Phase]color.NRGBA{
	Inversion:  {R: 0x1b, G: 0x6e, B: 0xc2, A: 0xff},
	Tuning:     {R: 0xc4, G: 0x4e, B: 0x1f, A: 0xff},
	validation: {R: 0x2a, G: 0x8a, B: 0x3e, A: 0xff},
}

// add draws one phase: pale dots and a line in its colour.
func add(p *plot.Plot, name string, c color.NRGBA, dots, line plotter.XYs) error {
	s, err := plotter.NewScatter(dots)
	if err != nil {
		return err
	}
	pale := c
	pale.A = 0x50
	s.GlyphStyle = draw.GlyphStyle{Color: pale, Radius: vg.Points(1), Shape: draw.CircleGlyph{}}
	l, err := plotter.NewLine(line)
	if err != nil {
		return err
	}
	l.Color, l.Width = c, vg.Points(1.5)
	p.Add(s, l)
	p.Legend.Add(name, l)
	return nil
}
