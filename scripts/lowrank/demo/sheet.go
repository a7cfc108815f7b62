package demo

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"

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
	side   = 160 // pixels of a picture on the sheet
	gap    = 12
	margin = 28
	labelW = 164
	line   = 15 // from one line of text to the next
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
			height += f.height(r)
		}
		height += gap
	}
	width := 2*margin + labelW + columns*(side+gap) - gap
	sheet := image.NewRGBA(image.Rect(0, 0, width, height+margin/2))
	draw.Draw(sheet, sheet.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)

	y := margin + 18
	write(sheet, f.title, ink, margin, y, title)
	y += 36
	for _, s := range sections {
		write(sheet, f.heading, ink, margin, y, s.heading)
		write(sheet, f.text, faint, margin, y+20, s.text)
		y += 38
		for _, r := range s.rows {
			label := wrap(f.text, r.label, labelW-gap)
			write(sheet, f.text, ink, margin, y+side/2-(len(label)-1)*line/2, label...)
			for i, c := range r.cells {
				x := margin + labelW + i*(side+gap)
				to := image.Rect(x, y, x+side, y+side)
				// Each pixel of a small picture stays one: nothing is made to
				// look better than it is.
				xdraw.NearestNeighbor.Scale(sheet, to, c.picture, c.picture.Bounds(), draw.Src, nil)
				write(sheet, f.text, faint, x, y+side+line, wrap(f.text, c.caption, side)...)
			}
			y += f.height(r)
		}
		y += 20 + gap
	}
	var b bytes.Buffer
	if err := png.Encode(&b, sheet); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// height is that of a row: pictures, the captions below them, and a gap.
func (f faces) height(r row) int {
	lines := 1
	for _, c := range r.cells {
		lines = max(lines, len(wrap(f.text, c.caption, side)))
	}
	return side + lines*line + 7 + gap
}

// wrap breaks a text between words into lines that are at most width pixels
// wide; a word wider than that has a line to itself.
func wrap(face font.Face, text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if last := len(lines) - 1; last >= 0 && font.MeasureString(face, lines[last]+" "+word) <= fixed.I(width) {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// write puts lines of text below each other, the first one's base line at y.
func write(to draw.Image, face font.Face, c color.Color, x, y int, lines ...string) {
	for i, text := range lines {
		d := font.Drawer{Dst: to, Src: image.NewUniform(c), Face: face, Dot: fixed.P(x, y+i*line)}
		d.DrawString(text)
	}
}
