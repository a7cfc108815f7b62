package demo

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	xdraw "golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// cell is a captioned picture.
type cell struct {
	picture image.Image
	caption string
}

// row is a line of cells under a label.
type row struct {
	label string
	cells []cell
}

// pictures are those of the cells.
func (r row) pictures() []image.Image {
	var all []image.Image
	for _, c := range r.cells {
		all = append(all, c.picture)
	}
	return all
}

// section is a part of the sheet under a heading.
type section struct {
	heading, text string
	rows          []row
}

const (
	side    = 160 // pixels of a picture on the sheet
	gap     = 12
	margin  = 28
	labelW  = 164
	caption = 22
)

var (
	paper = color.RGBA{0xfb, 0xfa, 0xf7, 0xff}
	ink   = color.RGBA{0x1c, 0x1b, 0x19, 0xff}
	faint = color.RGBA{0x6d, 0x6a, 0x64, 0xff}
)

// faces are the sheet's fonts.
type faces struct{ title, heading, text font.Face }

func newFaces() (f faces, err error) {
	make := func(ttf []byte, size float64) font.Face {
		parsed, parseErr := opentype.Parse(ttf)
		if parseErr != nil {
			err = parseErr
			return nil
		}
		face, faceErr := opentype.NewFace(parsed, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingFull})
		if faceErr != nil {
			err = faceErr
		}
		return face
	}
	f.title, f.heading, f.text = make(gobold.TTF, 24), make(gobold.TTF, 16), make(goregular.TTF, 12.5)
	return f, err
}

// contactSheet draws the sections below each other and returns a PNG.
func contactSheet(title string, sections []section) ([]byte, error) {
	f, err := newFaces()
	if err != nil {
		return nil, err
	}
	columns, height := 0, margin+36
	for _, s := range sections {
		height += 58
		for _, r := range s.rows {
			columns = max(columns, len(r.cells))
			height += side + caption + gap
		}
		height += gap
	}
	width := 2*margin + labelW + columns*(side+gap) - gap
	sheet := image.NewRGBA(image.Rect(0, 0, width, height+margin/2))
	draw.Draw(sheet, sheet.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)

	y := margin + 18
	write(sheet, f.title, ink, margin, y, title, width-2*margin)
	y += 36
	for _, s := range sections {
		write(sheet, f.heading, ink, margin, y, s.heading, width-2*margin)
		write(sheet, f.text, faint, margin, y+20, s.text, width-2*margin)
		y += 38
		for _, r := range s.rows {
			write(sheet, f.text, ink, margin, y+side/2, r.label, labelW-gap)
			for i, c := range r.cells {
				x := margin + labelW + i*(side+gap)
				to := image.Rect(x, y, x+side, y+side)
				// Each pixel of a small picture stays one: nothing is made to
				// look better than it is.
				xdraw.NearestNeighbor.Scale(sheet, to, c.picture, c.picture.Bounds(), draw.Src, nil)
				write(sheet, f.text, faint, x, y+side+15, c.caption, side+gap-4)
			}
			y += side + caption + gap
		}
		y += 20 + gap
	}
	var b bytes.Buffer
	if err := png.Encode(&b, sheet); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// write puts one line of text, cut where it would be wider than width.
func write(to draw.Image, face font.Face, c color.Color, x, y int, text string, width int) {
	for font.MeasureString(face, text) > fixed.I(width) && len(text) > 0 {
		runes := []rune(text)
		text = string(runes[:len(runes)-2]) + "…"
		if len(runes) < 3 {
			break
		}
	}
	d := font.Drawer{Dst: to, Src: image.NewUniform(c), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
}
