package device

// ConvGeom is the geometry of a convolution over x [N,H,W,C] giving
// y [N,OutH,OutW,O]. Where UpH and UpW are not zero, x is first stretched to
// [N,UpH,UpW,C] by nearest neighbour (source row = floor(i·H/UpH)).
type ConvGeom struct {
	N, H, W, C               int
	O, KH, KW, Stride        int
	Top, Left, Bottom, Right int // padding with zeros
	UpH, UpW                 int
}

// Source returns the height and width that the kernel slides over.
func (g ConvGeom) Source() (h, w int) {
	if g.UpH != 0 {
		return g.UpH, g.UpW
	}
	return g.H, g.W
}

// OutH is the height of the result.
func (g ConvGeom) OutH() int { h, _ := g.Source(); return (h+g.Top+g.Bottom-g.KH)/g.Stride + 1 }

// OutW is the width of the result.
func (g ConvGeom) OutW() int { _, w := g.Source(); return (w+g.Left+g.Right-g.KW)/g.Stride + 1 }

// WithOutputs is g with another number of output channels.
func (g ConvGeom) WithOutputs(o int) ConvGeom { g.O = o; return g }

// AttentionGeom is the geometry of attention over rows of tokens: q has
// Batch·TQ rows, k and v Batch·TK rows, head h is columns [h·Dim, (h+1)·Dim).
type AttentionGeom struct {
	Batch, Heads, Dim, TQ, TK int
	Scale                     float32 // of the scores, usually 1/√Dim
	Causal                    bool    // token i sees tokens 0..i
}

// NormGeom is the geometry of a group norm over x [N,Pixels,C]. Statistics are
// per image and group of C/Groups channels.
type NormGeom struct {
	N, Pixels, C, Groups int
	Eps                  float32
}

// Activation is a pointwise function.
type Activation uint8

// The activations: x·σ(x), the exact GELU, its tanh form, and x·σ(1.702x).
const (
	Identity Activation = iota
	SiLU
	GELU
	GELUTanh
	QuickGELU
)

// Draw addresses random numbers: Philox4x32-10 with Key as its key and the
// counter (Stream, Step, Micro, index/4). Step is read from device memory so
// that a captured step can be replayed with the next number. Number i is word
// i mod 4 of the block at index i/4; the key's low half is its first word.
//
// Normal numbers 2i and 2i+1 are Box and Muller's cosine and sine of words 2i
// and 2i+1: u = ((word>>8)+1)·2⁻²⁴ gives the radius √(−2·log u), the other
// word's upper 24 bits the angle as a fraction of a turn.
type Draw struct {
	Key    uint64
	Stream uint32
	Micro  uint32
	Step   Array // I32 [1]
}

// Dropout zeroes an element with probability P and scales the others by
// 1/(1-P): those whose number is below ⌊P·2³²⌋. Element (row m, column n) of an N-column matrix takes number
// m·N+n of Draw; the mask is never stored. P = 0 is no dropout.
type Dropout struct {
	P    float32
	Draw Draw
}

// Low is one low-rank term h·upᵀ added to a product: h [M,r], up [N,r]. In
// Products it may be one of a run of rows alone: that of row From of the result
// and as many as h has, whose bits are those that a product of these rows with
// their terms would have.
// In backward products h is the gradient of the low-rank activations, and up
// is the down factor [r,K] transposed in meaning: see LinearBack.
type Low struct {
	H    Matrix
	Up   Matrix
	From int
}

// Epilogue is what happens to an element of a product before it is stored, in
// this order: + Bias[n], + RowVector[m/RowsPerImage, n], Act, Drop,
// + Residual[m,n], + Beta·y[m,n]. With Beta 0 the old y is not read.
type Epilogue struct {
	Bias         Array  // [N] f32, optional
	RowVector    Matrix // [images, N] f32, optional
	RowsPerImage int
	Act          Activation
	Drop         Dropout
	Residual     Matrix // [M, N], optional
	Beta         float32
}

// LossGeom is the geometry of a loss over pred and target [N,Pixels,C].
// Loss = Σ_n weight[n] · mean over the sample of (mask·(pred−target))², divided by N.
type LossGeom struct {
	N, Pixels, C int
}

// Slab is the memory of everything that is trained, four arrays of equal
// length: values, gradients, and AdamW's two moments.
type Slab struct {
	Value, Grad, M, V Array
}

// AdamWSegment is a part of a slab with hyperparameters of its own.
// Hyper holds, f32 on the device: learning rate, beta1, beta2, epsilon, weight
// decay, 1−beta1^t, 1−beta2^t. 1−beta is taken in float64 and rounded to seven
// decimals, as the float32 of 0.999 is not near enough.
type AdamWSegment struct {
	Off, Len int
	Hyper    Array // f32 [7]
}
