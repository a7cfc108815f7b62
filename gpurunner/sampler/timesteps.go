package sampler

import (
	"fmt"
	"math"
	"sort"
)

// spaced returns n descending timesteps. last is the highest training timestep; whole rounds linspace to integers.
func spaced(spacing string, last, n, offset int, whole bool) ([]float64, error) {
	ts := make([]float64, n)
	switch spacing {
	case "linspace":
		for i := range ts {
			t := 0.0
			if n > 1 {
				t = float64(i) * (float64(last) / float64(n-1))
			}
			if i == n-1 && n > 1 {
				t = float64(last)
			}
			if whole {
				t = math.RoundToEven(t)
			}
			ts[n-1-i] = t
		}
	case "leading":
		ratio := (last + 1) / n
		for i := range ts {
			ts[n-1-i] = float64(i*ratio + offset)
		}
	case "trailing":
		ratio := float64(last+1) / float64(n)
		for i := range ts {
			ts[i] = math.RoundToEven(float64(last+1)-float64(i)*ratio) - 1
		}
	default:
		return nil, fmt.Errorf("timestep_spacing %q is not one of linspace, leading, trailing", spacing)
	}
	return ts, nil
}

// spacedOpen is spaced for the methods that end below their last timestep: the lowest of n+1 is left out.
func spacedOpen(spacing string, last, n, offset int) ([]float64, error) {
	switch spacing {
	case "trailing":
		return spaced(spacing, last, n, 0, true)
	case "leading":
		ratio := (last + 1) / (n + 1)
		ts := make([]float64, n)
		for i := range ts {
			ts[n-1-i] = float64((i+1)*ratio + offset)
		}
		return ts, nil
	}
	ts, err := spaced(spacing, last, n+1, 0, true)
	if err != nil {
		return nil, err
	}
	return ts[:n], nil
}

// interpolate reads a table at a place between its entries; outside it takes the nearest.
func interpolate(table []float32, at float64) float64 {
	i := int(math.Floor(at))
	if i < 0 {
		return float64(table[0])
	}
	if i >= len(table)-1 {
		return float64(table[len(table)-1])
	}
	a, b := float64(table[i]), float64(table[i+1])
	return (b-a)*(at-float64(i)) + a
}

// karras are n sigmas from high to low, evenly spaced in their 7th root (Karras et al. 2022, equation 5).
func karras(low, high float64, n int) []float64 {
	const rho = 7.0
	a, z := math.Pow(high, 1/rho), math.Pow(low, 1/rho)
	out := make([]float64, n)
	for i := range out {
		ramp := 0.0
		if n > 1 {
			ramp = float64(i) / float64(n-1)
		}
		out[i] = math.Pow(a+ramp*(z-a), rho)
	}
	return out
}

// timestepOf finds where a sigma lies in the training schedule, linear in log sigma.
func timestepOf(sigma float64, trained []float32) float64 {
	s := math.Log(math.Max(sigma, 1e-10))
	logs := func(i int) float32 { return float32(math.Log(float64(trained[i]))) }
	if len(trained) < 2 {
		return 0
	}
	above := sort.Search(len(trained), func(i int) bool { return float64(logs(i)) > s })
	low := min(max(above-1, 0), len(trained)-2)
	a, b := logs(low), logs(low+1)
	w := (float64(a) - s) / float64(a-b)
	w = math.Min(1, math.Max(0, w))
	return (1-w)*float64(low) + w*float64(low+1)
}
