package samples

import (
	"archive/zip"
	"bytes"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"testing"
)

func TestZip(t *testing.T) {
	for name, want := range map[string]int{NeonSign: 24, NeonSignHeldOut: 24, Lowie: 10} {
		t.Run(name, func(t *testing.T) {
			data, err := Zip(name)
			if err != nil {
				t.Fatal(err)
			}
			z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			if len(z.File) != want {
				t.Errorf("%d pictures, want %d", len(z.File), want)
			}
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				if c, _, err := image.DecodeConfig(r); err != nil || c.Width != 256 || c.Height != 256 {
					t.Errorf("%s: %dx%d, %v", f.Name, c.Width, c.Height, err)
				}
				r.Close()
			}
		})
	}
	if _, err := Zip("nothing"); err == nil {
		t.Error("a set that is not there gave no error")
	}
}
