package apitest

import (
	"archive/zip"
	"bytes"
	"fmt"
)

// Zip is a small zip of n pictures.
func Zip(n int) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := range n {
		f, err := z.Create(fmt.Sprintf("img %d.png", i))
		if err != nil {
			panic(err) // a buffer takes everything
		}
		f.Write(picture(16, 16, int64(i), "zip"))
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
