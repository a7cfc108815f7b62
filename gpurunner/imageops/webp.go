package imageops

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"iter"
)

// fromWebP converts a lossy picture, whose colour is stored at half the resolution, to RGB as libwebp does.
func fromWebP(m *image.YCbCr) *Picture {
	p := New(m.Rect.Dx(), m.Rect.Dy())
	ch := (p.Height + 1) / 2
	for y := range p.Height {
		near, other := y/2*m.CStride, rowNextTo(y, ch)*m.CStride
		row := p.Row(y)
		for x := range p.Width {
			u := webpChroma(m.Cb[near:], m.Cb[other:], x, p.Width)
			v := webpChroma(m.Cr[near:], m.Cr[other:], x, p.Width)
			row[3*x], row[3*x+1], row[3*x+2] = fromYUV(int(m.Y[y*m.YStride+x]), u, v)
		}
	}
	return p
}

// webpChroma interpolates between the two chroma rows that are nearest: 9, 3, 3 and 1 parts of the four samples around.
func webpChroma(row, other []uint8, x, width int) int {
	n, v := int(row[x/2]), int(other[x/2])
	if x == 0 || x == width-1 && x%2 == 1 {
		return (3*n + v + 2) >> 2
	}
	next := x/2 - 1 + 2*(x%2)
	h, d := int(row[next]), int(other[next])
	return ((n+h+v+d+8+2*(h+v))>>3 + n) >> 1
}

// fromYUV is the conversion from BT.601 with its narrow range (black is 16, white 235).
func fromYUV(y, u, v int) (r, g, b uint8) {
	luma := y * 19077 >> 8
	return byteOf((luma + v*26149>>8 - 14234) >> 6),
		byteOf((luma - u*6419>>8 - v*13320>>8 + 8708) >> 6),
		byteOf((luma + u*33050>>8 - 17685) >> 6)
}

// webpSize is the size of a picture: of the frame, which is what a decoder allocates first, and of the canvas that an extended
// file claims, which it allocates for alpha. They must agree.
func webpSize(data []byte) (width, height int, err error) {
	var canvas []byte
	for kind, body := range riffChunks(data) {
		switch {
		case kind == "VP8X" && len(body) >= 10:
			canvas = body
		case kind == "ANIM":
			return 0, 0, errors.New("animated pictures are not supported")
		case kind == "VP8 " && len(body) >= 10:
			width, height = int(binary.LittleEndian.Uint16(body[6:])&0x3fff), int(binary.LittleEndian.Uint16(body[8:])&0x3fff)
		case kind == "VP8L" && len(body) >= 5:
			bits := binary.LittleEndian.Uint32(body[1:])
			width, height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
		}
		if width != 0 {
			break
		}
	}
	if width == 0 {
		return 0, 0, errors.New("there is no picture in the file")
	}
	if canvas != nil {
		w := 1 + int(canvas[4]) + int(canvas[5])<<8 + int(canvas[6])<<16
		h := 1 + int(canvas[7]) + int(canvas[8])<<8 + int(canvas[9])<<16
		if w != width || h != height {
			return 0, 0, fmt.Errorf("a frame of %d×%d lies in a canvas of %d×%d", width, height, w, h)
		}
	}
	return width, height, nil
}

// riffChunks yields kind and body of each whole chunk.
func riffChunks(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for at := 12; at+8 <= len(data); {
			n := binary.LittleEndian.Uint32(data[at+4:])
			if uint64(n) > uint64(len(data)-at-8) {
				return
			}
			if !yield(string(data[at:at+4]), data[at+8:at+8+int(n)]) {
				return
			}
			at += 8 + int(n) + int(n&1)
		}
	}
}
