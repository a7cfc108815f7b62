package kernel

const (
	sqrtHalf     = 0.70710678
	invSqrt2Pi   = 0.39894228
	geluSqrt8Pi  = 1.59576912 // 2·√(2/π)
	geluCubic    = 0.044715
	quickGELUArg = 1.702
)

func silu32(x float32) float32 { return x / (1 + exp32(-x)) }

func siluSlope32(x float32) float32 { return gatedSlope(x, sigmoid32(x), 1) }

// gatedSlope is the derivative of x·σ(w(x)): s = σ(w), dw = w'.
func gatedSlope(x, s, dw float32) float32 {
	return float32(float32(float32(x*dw)*s)*(1-s)) + s
}

// gelu32 is x·Φ(x).
func gelu32(x float32) float32 { return float32(x*0.5) * onePlusErf32(x*sqrtHalf) }

// geluSlope32 is Φ(x) + x·φ(x).
func geluSlope32(x float32) float32 {
	phi := float32(exp32(float32(x*-0.5)*x) * invSqrt2Pi)
	return float32(x*phi) + float32(0.5*onePlusErf32(x*sqrtHalf))
}

// geluTanh32 uses (1+tanh u)/2 = σ(2u).
func geluTanh32(x float32) float32 {
	w, _ := geluTanhArg(x)
	return x / (1 + exp32(-w))
}

func geluTanhSlope32(x float32) float32 {
	w, dw := geluTanhArg(x)
	return gatedSlope(x, sigmoid32(w), dw)
}

func geluTanhArg(x float32) (w, dw float32) {
	s := float32(x * x)
	w = float32(float32(geluCubic*s)+1) * float32(geluSqrt8Pi*x)
	dw = float32(float32(3*geluCubic*s)+1) * geluSqrt8Pi
	return w, dw
}

func quickGELU32(x float32) float32 { return x / (1 + exp32(x*-quickGELUArg)) }

func quickGELUSlope32(x float32) float32 {
	return gatedSlope(x, sigmoid32(x*quickGELUArg), quickGELUArg)
}

func mapSlice(y, x []float32, f func(float32) float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] = f(x[i])
	}
}

func mapBack(dx, dy, x []float32, slope func(float32) float32) {
	dy, x = dy[:len(dx)], x[:len(dx)]
	for i := range dx {
		dx[i] = dy[i] * slope(x[i])
	}
}

func expGeneric(y, x []float32)       { mapSlice(y, x, exp32) }
func siluGeneric(y, x []float32)      { mapSlice(y, x, silu32) }
func geluGeneric(y, x []float32)      { mapSlice(y, x, gelu32) }
func geluTanhGeneric(y, x []float32)  { mapSlice(y, x, geluTanh32) }
func quickGELUGeneric(y, x []float32) { mapSlice(y, x, quickGELU32) }

func siluBackGeneric(dx, dy, x []float32)      { mapBack(dx, dy, x, siluSlope32) }
func geluBackGeneric(dx, dy, x []float32)      { mapBack(dx, dy, x, geluSlope32) }
func geluTanhBackGeneric(dx, dy, x []float32)  { mapBack(dx, dy, x, geluTanhSlope32) }
func quickGELUBackGeneric(dx, dy, x []float32) { mapBack(dx, dy, x, quickGELUSlope32) }

func gegluGeneric(y, hidden, gate []float32) {
	hidden, gate = hidden[:len(y)], gate[:len(y)]
	for i := range y {
		y[i] = hidden[i] * gelu32(gate[i])
	}
}

func gegluBackGeneric(dHidden, dGate, dy, hidden, gate []float32) {
	n := len(dHidden)
	dGate, dy, hidden, gate = dGate[:n], dy[:n], hidden[:n], gate[:n]
	for i := range dHidden {
		d, h, g := dy[i], hidden[i], gate[i]
		dHidden[i] = d * gelu32(g)
		dGate[i] = float32(d*h) * geluSlope32(g)
	}
}
