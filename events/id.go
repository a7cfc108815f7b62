package events

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// JobID names one prediction or training: 26 characters of a–z and 2–7.
type JobID string

// Owner names whom a token belongs to. All reads and writes are scoped to it.
type Owner string

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID draws 128 random bits as 26 characters of a–z and 2–7, the form of Replicate's ids.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return lowerBase32.EncodeToString(b[:])
}

// sortable has the alphabet of NewID in the order of its bytes.
var sortable = base32.NewEncoding("234567abcdefghijklmnopqrstuvwxyz").WithPadding(base32.NoPadding)

// NewSortableID is an id of 26 characters that sorts by the time t, to the microsecond: 56 bits of time,
// 72 random ones.
func NewSortableID(t time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixMicro())<<8)
	rand.Read(b[7:])
	return sortable.EncodeToString(b[:])
}

// NewSecret draws 192 random bits as 32 URL-safe characters. Who holds such a part of a URL may
// read what it names: outputs, uploads and streams are served without a token.
func NewSecret() string {
	var b [24]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// NewSeed draws a seed for a job that names none: 0 … 2³¹−1, which every client can send back.
func NewSeed() int64 {
	var b [4]byte
	rand.Read(b[:])
	return int64(binary.LittleEndian.Uint32(b[:]) >> 1)
}

// NewTempName draws what an output's name begins with: tmp and eight characters, as Python's
// tempfile names them.
func NewTempName() string {
	var b [5]byte
	rand.Read(b[:])
	return "tmp" + lowerBase32.EncodeToString(b[:])
}

// ValidID reports whether s can be an id at all, so that nonsense never reaches a store.
func ValidID(s string) bool {
	return len(s) >= 20 && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
