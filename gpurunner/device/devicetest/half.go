package devicetest

import (
	"encoding/binary"
	"math"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// encodeAs rounds v to typ, to nearest even, and returns bytes and values.
func encodeAs(typ device.DType, v []float64) ([]byte, []float64) {
	if typ == device.F32 {
		b := encode(v)
		return b, decode(b)
	}
	mantissa, minExp, maxValue := 10, -14, 65504.0
	if typ == device.BF16 {
		mantissa, minExp, maxValue = 7, -126, 0x1.fep127
	}
	var b []byte
	rounded := make([]float64, len(v))
	for i, x := range v {
		r := roundTo(x, mantissa, minExp)
		if math.Abs(r) > maxValue {
			r = math.Inf(int(math.Copysign(1, x)))
		}
		rounded[i] = r
		b = binary.LittleEndian.AppendUint16(b, bits16(r, mantissa, minExp))
	}
	return b, rounded
}

// roundTo keeps mantissa bits below the leading one, fewer below 2^minExp.
func roundTo(x float64, mantissa, minExp int) float64 {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return x
	}
	_, e := math.Frexp(x) // |x| in [2^(e-1), 2^e)
	ulp := math.Ldexp(1, max(e-1, minExp)-mantissa)
	return math.RoundToEven(x/ulp) * ulp
}

// bits16 writes a number that roundTo returned.
func bits16(x float64, mantissa, minExp int) uint16 {
	sign := uint16(0)
	if math.Signbit(x) {
		sign, x = 1<<15, -x
	}
	top := uint16(1<<(15-mantissa) - 1) // of the exponent
	switch {
	case math.IsInf(x, 1):
		return sign | top<<mantissa
	case x == 0:
		return sign
	}
	_, e := math.Frexp(x)
	if e-1 < minExp {
		return sign | uint16(math.Ldexp(x, mantissa-minExp))
	}
	frac := uint16(math.Ldexp(x, mantissa-(e-1))) - 1<<mantissa
	return sign | uint16(e-1-minExp+1)<<mantissa | frac
}

// decodeAs reads what encodeAs wrote.
func decodeAs(typ device.DType, b []byte) []float64 {
	if typ == device.F32 {
		return decode(b)
	}
	mantissa, minExp := 10, -14
	if typ == device.BF16 {
		mantissa, minExp = 7, -126
	}
	v := make([]float64, len(b)/2)
	for i := range v {
		h := binary.LittleEndian.Uint16(b[2*i:])
		e, frac := int(h&0x7fff)>>mantissa, float64(int(h)&(1<<mantissa-1))
		switch {
		case e == 1<<(15-mantissa)-1 && frac != 0:
			v[i] = math.NaN()
		case e == 1<<(15-mantissa)-1:
			v[i] = math.Inf(1)
		case e == 0:
			v[i] = math.Ldexp(frac, minExp-mantissa)
		default:
			v[i] = math.Ldexp(frac+float64(int(1)<<mantissa), e-1+minExp-mantissa)
		}
		if h>>15 != 0 {
			v[i] = -v[i]
		}
	}
	return v
}
