package main

import (
	"fmt"
	"math"
)

// near compares two results by the norm of their difference.
func near(ours, theirs []float32, limit float64) error {
	if len(ours) != len(theirs) {
		return fmt.Errorf("the results differ: %d elements, the peer's %d", len(ours), len(theirs))
	}
	diff, size := 0.0, 0.0
	for i, v := range theirs {
		d := float64(ours[i]) - float64(v)
		diff += d * d
		size += float64(v) * float64(v)
	}
	if e := math.Sqrt(diff / size); !(e <= limit) {
		return fmt.Errorf("the results differ by %.2g of their norm, more than %.2g", e, limit)
	}
	return nil
}

// picks are the elements that a peer sends.
func picks(result []float32) (picks []float32) {
	stride := max(1, len(result)/4096)
	for i := 0; i < len(result) && len(picks) < 4096; i += stride {
		picks = append(picks, result[i])
	}
	return picks
}

// alike compares two pictures' bytes by their peak signal-to-noise ratio.
func alike(ours []uint8, theirs []int, least float64) error {
	if len(ours) != len(theirs) || len(ours) == 0 {
		return fmt.Errorf("the pictures differ: %d bytes, the peer's %d", len(ours), len(theirs))
	}
	sum := 0.0
	for i, v := range ours {
		d := float64(v) - float64(theirs[i])
		sum += d * d
	}
	if psnr := 10 * math.Log10(255*255*float64(len(ours))/sum); !(psnr >= least) {
		return fmt.Errorf("the pictures differ: %.1f dB, less than %v", psnr, least)
	}
	return nil
}
