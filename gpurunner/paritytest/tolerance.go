package paritytest

import (
	"fmt"
	"strings"
)

// Tolerance says how far a result may lie from the stored number. Every bound that is set is tried, and one
// that holds is enough; with none set the comparison is exact.
type Tolerance struct {
	Rel   float64 // largest absolute difference / largest absolute value of the stored tensor
	L2Rel float64 // norm of the difference / norm of the stored tensor
	Abs   float64 // largest absolute difference
	// OfLargestGradient bounds the largest absolute difference by this times the largest gradient in the file:
	// gradients that are zero in exact arithmetic hold rounding noise.
	OfLargestGradient float64
	// Levels and Share bound pictures: no value further than Levels, and at most Share of all values off.
	Levels int
	Share  float64
}

func (tol Tolerance) String() string {
	var s []string
	for _, b := range []struct {
		name  string
		value float64
	}{{"rel", tol.Rel}, {"L2 rel", tol.L2Rel}, {"abs", tol.Abs}, {"of the largest gradient", tol.OfLargestGradient}} {
		if b.value != 0 {
			s = append(s, fmt.Sprintf("%s %g", b.name, b.value))
		}
	}
	if tol.Levels != 0 {
		s = append(s, fmt.Sprintf("%d levels in at most %g of the values", tol.Levels, tol.Share))
	}
	if len(s) == 0 {
		return "exact"
	}
	return strings.Join(s, " or ")
}

// The table of scripts/parity/README.md. Each is about ten times the largest difference between float32 and
// float64 of the code that made the numbers.
var (
	tolClip        = Tolerance{Rel: 1e-5}
	tolUNet        = Tolerance{Rel: 2e-5}
	tolVAE         = Tolerance{Rel: 1e-5}
	tolLoss        = Tolerance{Abs: 2e-6}
	tolGradient    = Tolerance{L2Rel: 5e-4, OfLargestGradient: 1e-4}
	tolRowGradient = Tolerance{Rel: 2e-4}
	tolOps         = Tolerance{Rel: 1e-5}
	// The gradient of a bias in front of a group norm is what is left of a sum that cancels: over 60 seeds PyTorch's own in
	// float32 lies up to 1.3e-5 of its largest value from float64, which is 7e-8 of the block's largest gradient. All
	// others of single operations are within 2.1e-6.
	tolOpsCancelled = Tolerance{Rel: 1e-5, OfLargestGradient: 2e-7}
	tolScheduler    = Tolerance{Rel: 1e-5}
	tolLatents      = Tolerance{Rel: 5e-5}
	// A network that is given the masked picture amplifies the rounding of the autoencoder: the same PyTorch program on
	// another machine lies 8.2e-5 from the stored numbers, and in float64 7.7e-5.
	tolInpainting  = Tolerance{Rel: 3e-4}
	tolPicture     = Tolerance{Levels: 1, Share: 0.01}
	tolLoRAOutput  = Tolerance{Rel: 2e-5}
	tolMerged      = Tolerance{Abs: 1e-6}
	tolTrainLoss   = Tolerance{Abs: 5e-6}
	tolTrainRows   = Tolerance{Abs: 1e-6}
	tolTrainWeight = Tolerance{Abs: 5e-5}
	tolTrainNorm   = Tolerance{Rel: 1e-4}
	tolJPEG        = Tolerance{Levels: 2, Share: 1}
	tolExact       = Tolerance{}

	// Not in the table: numbers of the .json files, printed with nine digits, and norms of gradients.
	tolTimesteps     = Tolerance{Rel: 1e-6}
	tolGradientNorm  = Tolerance{Rel: 5e-4, OfLargestGradient: 1e-4}
	tolPictureTensor = Tolerance{Rel: 1e-6}
)
