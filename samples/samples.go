// Package samples is the pictures that the demo and the tests train on. README.md
// names their sources and licences.
package samples

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"io/fs"
)

//go:embed neon-sign neon-sign-heldout lowie
var files embed.FS

// The sets.
const (
	NeonSign        = "neon-sign"
	NeonSignHeldOut = "neon-sign-heldout"
	Lowie           = "lowie"
)

// Set returns the pictures of a set, in a folder of their own.
func Set(name string) (fs.FS, error) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, fmt.Errorf("there is no sample set %q", name)
	}
	return fs.Sub(files, name)
}

// Zip packs a set as a user would, the pictures stored as they are. The same
// set gives the same bytes.
func Zip(name string) ([]byte, error) {
	set, err := Set(name)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(set, ".")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		data, err := fs.ReadFile(set, e.Name())
		if err != nil {
			return nil, err
		}
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.Name(), Method: zip.Store})
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
