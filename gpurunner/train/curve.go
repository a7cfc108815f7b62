package train

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Point is a step of a loss curve.
type Point struct {
	Phase      Phase
	Step       int // of the phase, from 0
	Loss       float64
	Rate       float64 // of the embeddings, or of the UNet
	Validation float64 // loss on held-out pictures, where Validated
	Validated  bool
}

// Curve is the losses of a job, in order.
type Curve []Point

// CSV writes a row a step: phase, step, loss, rate, validation.
func (c Curve) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	if err := out.Write([]string{"phase", "step", "loss", "learning_rate", "validation_loss"}); err != nil {
		return err
	}
	for _, p := range c {
		validation := ""
		if p.Validated {
			validation = number(p.Validation)
		}
		if err := out.Write([]string{p.Phase.String(), strconv.Itoa(p.Step + 1), number(p.Loss), number(p.Rate), validation}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// smoothing is how many steps the plotted mean looks back on.
const smoothing = 20

// PNG draws the curve: each step's loss as a dot, their running mean as a
// line, for both phases one behind the other, and the validation loss.
func (c Curve) PNG(w io.Writer) error {
	p := plot.New()
	p.Title.Text = "loss"
	p.X.Label.Text = "step"
	p.Add(plotter.NewGrid())
	at := 0
	var held plotter.XYs
	for _, phase := range []Phase{Inversion, Tuning} {
		var dots, line plotter.XYs
		var recent []float64
		sum := 0.0
		for _, q := range c {
			if q.Phase != phase {
				continue
			}
			at++
			x := float64(at)
			dots = append(dots, plotter.XY{X: x, Y: q.Loss})
			recent, sum = append(recent, q.Loss), sum+q.Loss
			if len(recent) > smoothing {
				sum -= recent[0]
				recent = recent[1:]
			}
			line = append(line, plotter.XY{X: x, Y: sum / float64(len(recent))})
			if q.Validated {
				held = append(held, plotter.XY{X: x, Y: q.Validation})
			}
		}
		if len(dots) == 0 {
			continue
		}
		if err := add(p, phase.String(), curveColors[phase], dots, line); err != nil {
			return fmt.Errorf("loss curve: %w", err)
		}
	}
	if len(held) > 0 {
		l, err := plotter.NewLine(held)
		if err != nil {
			return fmt.Errorf("loss curve: %w", err)
		}
		l.Color, l.Width, l.Dashes = curveColors[validation], vg.Points(1.5), []vg.Length{vg.Points(4), vg.Points(2)}
		p.Add(l)
		p.Legend.Add("validation", l)
	}
	p.Legend.Top = true
	canvas := vgimg.PngCanvas{Canvas: vgimg.New(16*vg.Centimeter, 9*vg.Centimeter)}
	p.Draw(draw.New(canvas))
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return fmt.Errorf("loss curve: %w", err)
	}
	_, err := w.Write(out.Bytes())
	return err
}
