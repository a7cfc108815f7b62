package events

import (
	"fmt"
	"time"
)

// Time is a moment in UTC with microseconds. It is written as RFC 3339 with Z and exactly six
// digits, so that texts sort as times do; the zero Time is null.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05.000000Z"

// At makes a Time of t, cut to the microseconds that are written.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// String is the written form, or "" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeLayout)
}

// MarshalJSON writes the time, null when it is zero.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("a time must be a string in RFC 3339")
	}
	p, err := time.Parse(time.RFC3339Nano, string(b[1:len(b)-1]))
	if err != nil {
		return fmt.Errorf("a time must be in RFC 3339, for example 2023-02-07T12:00:00Z")
	}
	*t = At(p)
	return nil
}
