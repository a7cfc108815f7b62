package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/imageops"
)

// Set is a data set in memory.
type Set struct {
	Pictures []Picture // sorted by name
	Skipped  []Skip
	Notes    []string // for the log: what is odd but not wrong
}

// Skip names a file that is not used.
type Skip struct{ Name, Reason string }

func (s Skip) String() string { return fmt.Sprintf("%s: %s", quote(s.Name), s.Reason) }

// Picture is a training picture, upright, scaled and cropped.
type Picture struct {
	Name        string // path in the zip or folder
	Caption     string
	CaptionFrom CaptionSource
	Image       *imageops.Picture
	// Mask weights the loss: [H,W], 0 is the least weight and 255 the most.
	// nil for none.
	Mask []uint8
	// Original is the upright picture's size before scaling, CropX and CropY
	// where the crop begins, in scaled pixels: SDXL is told.
	Original     Size
	CropX, CropY int
}

// Size is the size after scaling and cropping.
func (p *Picture) Size() Size { return Size{p.Image.Width, p.Image.Height} }

// Augment says how the looks at a picture vary.
type Augment struct {
	Jitter bool // brightness and contrast by up to a tenth, in either order
	Flip   bool // mirrored every other time
}

// Draws is where a look at a picture takes its random numbers from.
type Draws interface {
	Float64() float64 // in [0,1)
}

// View is one look at a picture.
type View struct {
	Image   *imageops.Picture
	Mask    []uint8 // nil for none
	Flipped bool
}

// View looks at p. flips and colours are drawn separately, so that switching
// one off leaves the other as it was; the mask is mirrored with the picture and
// never coloured.
func (p *Picture) View(a Augment, flips, colours Draws) View {
	v := View{Image: p.Image, Mask: p.Mask}
	if a.Jitter {
		brightness, contrast := 0.9+0.2*colours.Float64(), 0.9+0.2*colours.Float64()
		if colours.Float64() < 0.5 {
			v.Image = v.Image.Brightness(brightness).Contrast(contrast)
		} else {
			v.Image = v.Image.Contrast(contrast).Brightness(brightness)
		}
	}
	if a.Flip && flips.Float64() >= 0.5 {
		v = v.Mirror()
	}
	return v
}

// Mirror returns v with left and right exchanged.
func (v View) Mirror() View {
	m := View{Image: v.Image.Flip(), Flipped: !v.Flipped}
	if v.Mask != nil {
		w := v.Image.Width
		m.Mask = make([]uint8, len(v.Mask))
		for y := 0; y < v.Image.Height; y++ {
			for x := range w {
				m.Mask[y*w+x] = v.Mask[y*w+w-1-x]
			}
		}
	}
	return m
}

// Hash identifies what the set shows: pixels, masks, captions and names.
func (s *Set) Hash() string {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	for _, p := range s.Pictures {
		part([]byte(p.Name))
		part([]byte(p.Caption))
		part([]byte(fmt.Sprint(p.Size(), p.Original, p.CropX, p.CropY)))
		part(p.Image.Pix)
		part(p.Mask)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Split holds out n pictures, evenly spaced by name, to measure a validation
// loss on.
func (s *Set) Split(n int) (train, held *Set, err error) {
	if n < 0 || n >= len(s.Pictures) {
		return nil, nil, fmt.Errorf("%d of %d pictures cannot be held out; at least one must stay for training", n, len(s.Pictures))
	}
	train, held = &Set{Skipped: s.Skipped, Notes: s.Notes}, &Set{}
	for i, p := range s.Pictures {
		if (i+1)*n/len(s.Pictures) > i*n/len(s.Pictures) {
			held.Pictures = append(held.Pictures, p)
		} else {
			train.Pictures = append(train.Pictures, p)
		}
	}
	return train, held, nil
}

// Count is a number of pictures in words.
func Count(n int) string {
	if n == 1 {
		return "1 picture"
	}
	return fmt.Sprintf("%d pictures", n)
}

// Report writes the notes and the skipped files, a line each.
func (s *Set) Report(w io.Writer) error {
	var b strings.Builder
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "%s\n", n)
	}
	for _, k := range s.Skipped {
		fmt.Fprintf(&b, "skipped %s\n", k)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quote makes a name of a stranger's archive safe for one line of a log.
func quote(name string) string {
	const most = 120
	if r := []rune(name); len(r) > most {
		name = string(r[:most/2]) + "…" + string(r[len(r)-most/2:])
	}
	return fmt.Sprintf("%q", name)
}
