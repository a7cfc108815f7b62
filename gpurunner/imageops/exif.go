package imageops

import (
	"bytes"
	"encoding/binary"
)

// Orientation reads the EXIF orientation, 1 to 8, of a JPEG, PNG or WebP; 1 where there is none or it makes no sense.
func Orientation(data []byte) int {
	var block []byte
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8")):
		block = jpegExif(data)
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")):
		block = pngChunk(data, "eXIf")
	case len(data) >= 12 && string(data[:4]) == "RIFF":
		for kind, body := range riffChunks(data) {
			if kind == "EXIF" {
				block = bytes.TrimPrefix(body, []byte("Exif\x00\x00"))
				break
			}
		}
	}
	return orientationTag(block)
}

// jpegExif is the TIFF block of the first APP1 segment that begins with "Exif".
func jpegExif(data []byte) []byte {
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker := data[at+1]
		switch {
		case marker == 0xff: // fill byte
			at++
			continue
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd8: // no length follows
			at += 2
			continue
		case marker == 0xda || marker == 0xd9: // pixels, end
			return nil
		}
		n := int(binary.BigEndian.Uint16(data[at+2:]))
		if n < 2 || at+2+n > len(data) {
			return nil
		}
		if rest, ok := bytes.CutPrefix(data[at+4:at+2+n], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return rest
		}
		at += 2 + n
	}
	return nil
}

// pngChunk is the body of the first chunk of a kind before the picture's end.
func pngChunk(data []byte, kind string) []byte {
	for at := 8; at+12 <= len(data); {
		n := binary.BigEndian.Uint32(data[at:])
		if uint64(n) > uint64(len(data)-at-12) {
			return nil
		}
		if string(data[at+4:at+8]) == kind {
			return data[at+8 : at+8+int(n)]
		}
		at += 12 + int(n)
	}
	return nil
}

// orientationTag reads tag 0x0112 of the first directory of a TIFF block.
func orientationTag(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 1
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return 1
	}
	n := uint64(order.Uint16(b[at:]))
	for i := range n {
		e := at + 2 + 12*i
		if e+12 > uint64(len(b)) {
			return 1
		}
		// A SHORT, one of them, in the first bytes of the value.
		if order.Uint16(b[e:]) == 0x0112 && order.Uint16(b[e+2:]) == 3 && order.Uint32(b[e+4:]) == 1 {
			if v := int(order.Uint16(b[e+8:])); v >= 1 && v <= 8 {
				return v
			}
			return 1
		}
	}
	return 1
}
