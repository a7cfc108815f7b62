package unet

import "math"

// sinusoid embeds timesteps: dim numbers each, the cosines (flip) or the sines
// first. It follows diffusers' get_timestep_embedding rounding by rounding in
// float32, since one unit in the last place of a frequency is 6e-5 of angle at
// timestep 999; the sine of the rounded angle is then taken accurately.
func sinusoid(timesteps []float64, dim int, flip bool, shift float64) []float32 {
	half := dim / 2
	out := make([]float32, len(timesteps)*dim)
	for i := range half {
		exponent := float32(float32(-math.Log(10000)) * float32(i))
		exponent = exponent / float32(float64(half)-shift)
		freq := float32(math.Exp(float64(exponent)))
		for n, t := range timesteps {
			angle := float64(float32(float32(t) * freq))
			row := out[n*dim:]
			s, c := float32(math.Sin(angle)), float32(math.Cos(angle))
			if flip {
				row[i], row[half+i] = c, s
			} else {
				row[i], row[half+i] = s, c
			}
		}
	}
	return out
}
