//go:build !purego

package kernel

// winogradAssembly is one instruction set's raw transforms; install checks
// bounds for them.
type winogradAssembly struct {
	input, output func(dst, src *float32, n, part, pixel, row int)
	weights       func(dst, src *float32, n, part, tap int)
}

var (
	winogradAVX2   = winogradAssembly{winogradInputAVX2, winogradOutputAVX2, winogradWeightsAVX2}
	winogradAVX512 = winogradAssembly{winogradInputAVX512, winogradOutputAVX512, winogradWeightsAVX512}
)

func (a *winogradAssembly) install(s *Winograd) {
	s.WinogradInput = func(dst []float32, part int, src []float32, pixel, row, n int) {
		if n == 0 {
			return
		}
		_, _ = dst[15*part+n-1], src[3*(row+pixel)+n-1]
		a.input(&dst[0], &src[0], n, 4*part, 4*pixel, 4*row)
	}
	s.WinogradWeights = func(dst []float32, part int, src []float32, tap int, mirrored bool, n int) {
		if n == 0 {
			return
		}
		_, _ = dst[15*part+n-1], src[8*tap+n-1]
		if mirrored {
			a.weights(&dst[0], &src[8*tap], n, 4*part, -4*tap)
		} else {
			a.weights(&dst[0], &src[0], n, 4*part, 4*tap)
		}
	}
	s.WinogradOutput = func(dst []float32, pixel, row int, src []float32, part, n int) {
		if n == 0 {
			return
		}
		_, _ = dst[row+pixel+n-1], src[15*part+n-1]
		a.output(&dst[0], &src[0], n, 4*part, 4*pixel, 4*row)
	}
}
