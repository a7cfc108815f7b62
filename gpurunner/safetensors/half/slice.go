package half

import (
	"encoding/binary"
	"math"
)

// The slice forms read and write little-endian bytes, which need not be aligned: weight files put tensors
// at any offset.

// DecodeF16 widens len(dst) binary16 values from src, which must hold at least 2·len(dst) bytes.
func DecodeF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = FromF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// DecodeBF16 widens len(dst) bfloat16 values from src, which must hold at least 2·len(dst) bytes.
func DecodeBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = FromBF16(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// DecodeF32 copies len(dst) float32 values from src, which must hold at least 4·len(dst) bytes.
func DecodeF32(dst []float32, src []byte) {
	src = src[:4*len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// AppendF16 appends src to dst as binary16, rounded.
func AppendF16(dst []byte, src []float32) []byte {
	for _, f := range src {
		dst = binary.LittleEndian.AppendUint16(dst, ToF16(f))
	}
	return dst
}

// AppendBF16 appends src to dst as bfloat16, rounded.
func AppendBF16(dst []byte, src []float32) []byte {
	for _, f := range src {
		dst = binary.LittleEndian.AppendUint16(dst, ToBF16(f))
	}
	return dst
}

// AppendF32 appends src to dst as it is.
func AppendF32(dst []byte, src []float32) []byte {
	for _, f := range src {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(f))
	}
	return dst
}
