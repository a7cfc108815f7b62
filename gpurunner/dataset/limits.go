package dataset

import (
	"errors"
	"fmt"
)

// What Load can refuse. The errors that are these say what to do.
var (
	ErrNotAnArchive = errors.New("not a zip")
	ErrTooLarge     = errors.New("too large")
	ErrTooMany      = errors.New("too many files")
	ErrNoPictures   = errors.New("no usable picture")
)

// refusal is an error whose message says all; kind is for errors.Is.
type refusal struct {
	message string
	kind    error
}

func (r *refusal) Error() string { return r.message }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...), kind}
}

// Limits bound what is read. A zero field means the default.
type Limits struct {
	Archive  int64 // bytes of a zip
	Entries  int   // files of any kind
	Pictures int   // pictures that are used
	File     int64 // unpacked bytes of one file
	Total    int64 // unpacked bytes of all files that are read
	Ratio    int64 // unpacked bytes per packed one, of a file above 1 MB
	Pixels   int   // of one picture, before scaling
	Aspect   int   // longer side per shorter side
	Caption  int   // bytes of a caption
}

// DefaultLimits: a phone's 50-megapixel pictures pass, bombs do not.
func DefaultLimits() Limits {
	return Limits{
		Archive:  2 << 30,
		Entries:  10000,
		Pictures: 500,
		File:     64 << 20,
		Total:    4 << 30,
		Ratio:    200,
		Pixels:   52_000_000,
		Aspect:   10,
		Caption:  16 << 10,
	}
}

// The number of pictures that trains well. Others are allowed, with a note.
const (
	FewestAdvised = 5
	MostAdvised   = 100
)

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	pick := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	pickInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	pick(&l.Archive, d.Archive)
	pick(&l.File, d.File)
	pick(&l.Total, d.Total)
	pick(&l.Ratio, d.Ratio)
	pickInt(&l.Entries, d.Entries)
	pickInt(&l.Pictures, d.Pictures)
	pickInt(&l.Pixels, d.Pixels)
	pickInt(&l.Aspect, d.Aspect)
	pickInt(&l.Caption, d.Caption)
	return l
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
