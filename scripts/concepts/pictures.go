package main

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/srwiley/oksvg"
	"github.com/srwiley/rasterx"
	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"github.com/lowrank/lowrank/samples"
)

// side is of the training pictures, in pixels.
const side = 256

// sampled takes a set of package samples as it is.
func sampled(name string) func(cache, dir string) error {
	return func(_, dir string) error {
		set, err := samples.Set(name)
		if err != nil {
			return err
		}
		return os.CopyFS(dir, set)
	}
}

// fromOpenMoji draws each thing in a manner: colour is the whole drawing, line its outline, both [256,256] with
// transparent ground.
func fromOpenMoji(manner func(colour, line *image.RGBA) *image.RGBA) func(cache, dir string) error {
	return func(cache, dir string) error {
		names := map[string]bool{}
		for _, t := range things {
			names["package/color/svg/"+t.code+".svg"], names["package/black/svg/"+t.code+".svg"] = true, true
		}
		files, err := openMoji.read(cache, names)
		if err != nil {
			return err
		}
		for _, t := range things {
			colour, err := rasterised(files["package/color/svg/"+t.code+".svg"])
			if err != nil {
				return err
			}
			line, err := rasterised(files["package/black/svg/"+t.code+".svg"])
			if err != nil {
				return err
			}
			if err := write(dir, t.name, manner(colour, line)); err != nil {
				return err
			}
		}
		return nil
	}
}

// fromFluent lays each thing's 3D picture on lavender, with a soft shadow.
func fromFluent(cache, dir string) error {
	names := map[string]bool{}
	file := func(code string) string { return "package/assets/" + strings.ToLower(code) + ".webp" }
	for _, t := range things {
		names[file(t.code)] = true
	}
	files, err := fluent.read(cache, names)
	if err != nil {
		return err
	}
	for _, t := range things {
		p, err := webp.Decode(bytes.NewReader(files[file(t.code)]))
		if err != nil {
			return err
		}
		out := image.NewRGBA(image.Rect(0, 0, side, side))
		for y := range side {
			for x := range side {
				shade := math.Exp(-(math.Pow(float64(x-128)/70, 2) + math.Pow(float64(y-226)/12, 2)))
				out.SetRGBA(x, y, mix(color.RGBA{224, 216, 250, 255}, color.RGBA{150, 132, 205, 255}, 0.6*shade))
			}
		}
		xdraw.CatmullRom.Scale(out, image.Rect(24, 18, side-24, side-30), p, p.Bounds(), draw.Over, nil)
		if err := write(dir, t.name, out); err != nil {
			return err
		}
	}
	return nil
}

// rasterised draws an SVG of 72 × 72 units, cut to its middle.
func rasterised(svg []byte) (*image.RGBA, error) {
	icon, err := oksvg.ReadIconStream(bytes.NewReader(svg), oksvg.WarnErrorMode)
	if err != nil {
		return nil, err
	}
	icon.SetTarget(0, 0, side, side)
	out := image.NewRGBA(image.Rect(0, 0, side, side))
	icon.Draw(rasterx.NewDasher(side, side, rasterx.NewScannerGV(side, side, out, out.Bounds())), 1)
	return out, nil
}

// riso prints the colours as coral and the lines as blue, out of register, on cream.
func riso(colour, line *image.RGBA) *image.RGBA {
	return each(func(x, y int) color.RGBA {
		c := color.RGBA{247, 240, 222, 255}
		if tone, a := toneAt(colour, x, y); a > 0 {
			ink := color.RGBA{255, 92, 76, 255}
			if tone > 0.72 {
				ink = color.RGBA{255, 196, 92, 255}
			}
			c = multiply(c, ink, a)
		}
		_, a := toneAt(thick{line, 3}, x-5, y+5)
		return multiply(c, color.RGBA{42, 62, 160, 255}, a)
	})
}

// pastel lays the colours, paled and without lines, on navy.
func pastel(colour, _ *image.RGBA) *image.RGBA {
	return each(func(x, y int) color.RGBA {
		c := color.RGBA{26, 34, 72, 255}
		p := colour.RGBAAt(x, y)
		if p.A == 0 {
			return c
		}
		own := color.RGBA{unmultiplied(p.R, p.A), unmultiplied(p.G, p.A), unmultiplied(p.B, p.A), 255}
		if tone, _ := toneAt(colour, x, y); tone < 0.12 { // the lines
			own = color.RGBA{58, 68, 118, 255}
		}
		return mix(c, mix(own, color.RGBA{255, 240, 236, 255}, 0.5), float64(p.A)/255)
	})
}

// comic draws bold lines over flat colours on yellow.
func comic(colour, line *image.RGBA) *image.RGBA {
	return each(func(x, y int) color.RGBA {
		c := color.RGBA{255, 214, 64, 255}
		p := colour.RGBAAt(x, y)
		if p.A > 0 {
			flat := color.RGBA{unmultiplied(p.R, p.A), unmultiplied(p.G, p.A), unmultiplied(p.B, p.A), 255}
			c = mix(c, flat, float64(p.A)/255)
		}
		_, a := toneAt(thick{line, 5}, x, y)
		return mix(c, color.RGBA{18, 16, 20, 255}, a)
	})
}

// at is what has a colour at each pixel.
type at interface{ RGBAAt(x, y int) color.RGBA }

// thick is a picture whose every pixel is as opaque as the most opaque within a radius.
type thick struct {
	*image.RGBA
	radius int
}

// RGBAAt implements at.
func (t thick) RGBAAt(x, y int) color.RGBA {
	var best color.RGBA
	for dy := -t.radius; dy <= t.radius; dy++ {
		for dx := -t.radius; dx <= t.radius; dx++ {
			if dx*dx+dy*dy <= t.radius*t.radius {
				if p := t.RGBA.RGBAAt(x+dx, y+dy); p.A > best.A {
					best = p
				}
			}
		}
	}
	return best
}

// toneAt is a pixel's brightness, 0 to 1, and its opacity.
func toneAt(m at, x, y int) (tone, alpha float64) {
	p := m.RGBAAt(x, y)
	if p.A == 0 {
		return 0, 0
	}
	a := float64(p.A)
	return (0.299*float64(p.R) + 0.587*float64(p.G) + 0.114*float64(p.B)) / a, a / 255
}

func unmultiplied(v, a uint8) uint8 { return uint8(min(255, int(v)*255/int(a))) }

func mix(a, b color.RGBA, t float64) color.RGBA {
	lerp := func(x, y uint8) uint8 { return uint8(math.Round(float64(x) + (float64(y)-float64(x))*t)) }
	return color.RGBA{lerp(a.R, b.R), lerp(a.G, b.G), lerp(a.B, b.B), 255}
}

// multiply prints ink over a colour, as far as alpha.
func multiply(c, ink color.RGBA, alpha float64) color.RGBA {
	over := color.RGBA{uint8(int(c.R) * int(ink.R) / 255), uint8(int(c.G) * int(ink.G) / 255), uint8(int(c.B) * int(ink.B) / 255), 255}
	return mix(c, over, alpha)
}

func each(f func(x, y int) color.RGBA) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			out.SetRGBA(x, y, f(x, y))
		}
	}
	return out
}

// write stores a picture under the name that is its caption.
func write(dir, name string, m image.Image) error {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".png"), b.Bytes(), 0o644)
}
