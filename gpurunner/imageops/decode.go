package imageops

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"

	"golang.org/x/image/webp"

	"github.com/lowrank/lowrank/gpurunner/imageops/jpeg"
)

// Options of Decode.
type Options struct {
	// MaxPixels bounds width × height; 0 is DefaultMaxPixels.
	MaxPixels int
	// Original treats pictures as the original trainer's stack did: EXIF orientation ignored, 16-bit grey saturated.
	Original bool
}

// DefaultMaxPixels is the largest picture that Decode takes by default: 64 million pixels, about 200 MB as bytes.
const DefaultMaxPixels = 64_000_000

// ErrFormat is returned, wrapped, for data that is no JPEG, PNG or WebP.
var ErrFormat = errors.New("not a JPEG, PNG or WebP picture")

// TooLargeError says that a picture has more pixels than allowed.
type TooLargeError struct{ Width, Height, MaxPixels int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the picture is %d×%d, which is more than %d pixels", e.Width, e.Height, e.MaxPixels)
}

// Header is what a picture says of itself before it is decoded.
type Header struct {
	Format        string // jpeg, png, webp
	Width, Height int    // as stored
	Orientation   int    // EXIF, 1 to 8; 1 where there is none
}

// ReadHeader looks at a picture's beginning. It allocates nothing of the picture's size.
func ReadHeader(data []byte) (Header, error) {
	var h Header
	var c image.Config
	var err error
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8")):
		h.Format = "jpeg"
		c.Width, c.Height, err = jpeg.Size(data)
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		h.Format = "png"
		c, err = png.DecodeConfig(bytes.NewReader(data))
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		h.Format = "webp"
		c.Width, c.Height, err = webpSize(data)
	default:
		return h, ErrFormat
	}
	if err != nil {
		return h, fmt.Errorf("%s: %w", h.Format, err)
	}
	if c.Width < 1 || c.Height < 1 {
		return h, fmt.Errorf("%s: the picture is %d×%d", h.Format, c.Width, c.Height)
	}
	h.Width, h.Height = c.Width, c.Height
	h.Orientation = Orientation(data)
	return h, nil
}

// Decode reads a JPEG, PNG or WebP. Errors: ErrFormat, *TooLargeError, and what the decoders say of damaged data.
func Decode(data []byte, o Options) (*Picture, error) {
	h, err := ReadHeader(data)
	if err != nil {
		return nil, err
	}
	limit := o.MaxPixels
	if limit == 0 {
		limit = DefaultMaxPixels
	}
	if h.Width > limit/h.Height {
		return nil, &TooLargeError{h.Width, h.Height, limit}
	}
	p, err := decodeAs(h.Format, data, limit, o.Original)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Format, err)
	}
	if !o.Original {
		p = p.Orient(h.Orientation)
	}
	return p, nil
}

func decodeAs(format string, data []byte, limit int, original bool) (*Picture, error) {
	var m image.Image
	var err error
	switch format {
	case "jpeg":
		j, err := jpeg.Decode(data, limit)
		if err != nil {
			return nil, err
		}
		return fromJPEG(j), nil
	case "png":
		m, err = png.Decode(bytes.NewReader(data))
	case "webp":
		m, err = webp.Decode(bytes.NewReader(data))
	}
	if err != nil {
		return nil, err
	}
	return toRGB(m, original), nil
}
