package paritytest

import "fmt"

// Tensor is a stored tensor. One of the slices is set: F32 for floating types, I64 for integers, U8 for bytes.
type Tensor struct {
	Name  string
	DType string // as in the file: F32, F16, BF16, I64, U8
	Shape []int
	F32   []float32
	I64   []int64
	U8    []uint8
}

// Len is the number of elements.
func (x Tensor) Len() int {
	n := 1
	for _, d := range x.Shape {
		n *= d
	}
	return n
}

// NHWC returns the tensor with its channels last: [N,C,H,W] → [N,H,W,C], and [S,N,C,H,W] → [S,N,H,W,C]. Tensors
// of lower rank, such as a transformer's [N,T,C], are channels-last already and come back as they are.
func (x Tensor) NHWC() Tensor {
	if len(x.Shape) < 4 {
		return x
	}
	return x.channelsLast()
}

// HWC turns one picture [C,H,W] to [H,W,C].
func (x Tensor) HWC() Tensor {
	if len(x.Shape) != 3 {
		panic(fmt.Sprintf("paritytest: HWC of %s, whose shape is %v", x.Name, x.Shape))
	}
	return x.channelsLast()
}

// channelsLast moves the third dimension from the end to the end.
func (x Tensor) channelsLast() Tensor {
	r := len(x.Shape)
	c, h, w := x.Shape[r-3], x.Shape[r-2], x.Shape[r-1]
	y := x
	y.Shape = append(append([]int(nil), x.Shape[:r-3]...), h, w, c)
	switch {
	case x.F32 != nil:
		y.F32 = permute(x.F32, c, h, w)
	case x.I64 != nil:
		y.I64 = permute(x.I64, c, h, w)
	case x.U8 != nil:
		y.U8 = permute(x.U8, c, h, w)
	}
	return y
}

func permute[T any](x []T, c, h, w int) []T {
	y := make([]T, len(x))
	size := c * h * w
	for base := 0; base+size <= len(x) && size > 0; base += size {
		for k := range c {
			for p := range h * w {
				y[base+p*c+k] = x[base+k*h*w+p]
			}
		}
	}
	return y
}
