package sampler

import "math"

// Schedule is the noise schedule that a model was trained with.
type Schedule struct {
	// Betas and AlphasCumprod have an entry per training timestep, rounded to float32 where diffusers rounds.
	Betas, AlphasCumprod []float32
}

// NewSchedule makes the schedule of a configuration.
func NewSchedule(c Config) (*Schedule, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	betas := betas(c)
	if c.ZeroSNR {
		betas = zeroTerminalSNR(betas)
	}
	return &Schedule{Betas: betas, AlphasCumprod: cumulativeProduct(betas)}, nil
}

func betas(c Config) []float32 {
	n := c.TrainTimesteps
	b := make([]float32, n)
	switch {
	case c.TrainedBetas != nil:
		for i, v := range c.TrainedBetas {
			b[i] = float32(v)
		}
	case c.BetaSchedule == "scaled_linear":
		linspace(b, math.Sqrt(c.BetaStart), math.Sqrt(c.BetaEnd))
		for i, v := range b {
			b[i] = v * v
		}
	case c.BetaSchedule == "squaredcos_cap_v2": // Nichol and Dhariwal 2021
		bar := func(t float64) float64 {
			v := math.Cos((t + 0.008) / 1.008 * math.Pi / 2)
			return v * v
		}
		for i := range b {
			b[i] = float32(min(1-bar(float64(i+1)/float64(n))/bar(float64(i)/float64(n)), 0.999))
		}
	default:
		linspace(b, c.BetaStart, c.BetaEnd)
	}
	return b
}

// linspace fills b from a to z as torch does in float32: from both ends towards the middle, multiplying and adding with
// one rounding.
func linspace(b []float32, a, z float64) {
	n := len(b)
	if n == 1 {
		b[0] = float32(a)
		return
	}
	start, end := float32(a), float32(z)
	step := (end - start) / float32(n-1)
	for i := range b {
		if i < n/2 {
			b[i] = float32(float64(start) + float64(step)*float64(i))
		} else {
			b[i] = float32(float64(end) - float64(step)*float64(n-1-i))
		}
	}
}

// cumulativeProduct of 1-beta, multiplied up in float64 and rounded entry by entry, as torch's cumprod.
func cumulativeProduct(betas []float32) []float32 {
	out := make([]float32, len(betas))
	product := 1.0
	for i, b := range betas {
		product *= float64(1 - b)
		out[i] = float32(product)
	}
	return out
}

// zeroTerminalSNR shifts the schedule so that the last timestep is noise alone (Lin et al. 2023, algorithm 1).
func zeroTerminalSNR(betas []float32) []float32 {
	root := cumulativeProduct(betas)
	for i, a := range root {
		root[i] = sqrt32(a)
	}
	first, last := root[0], root[len(root)-1]
	out := make([]float32, len(betas))
	before := float32(1)
	for i, r := range root {
		r = float32(float32(r-last) * float32(first/float32(first-last)))
		bar := float32(r * r)
		out[i] = 1 - float32(bar/before)
		before = bar
	}
	return out
}

func sqrt32(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// AddNoise returns the weights of a noised sample: clean·latents + noise·noise. t is a training timestep.
func (s *Schedule) AddNoise(t int) (clean, noise float64) {
	a := float64(s.AlphasCumprod[t])
	return math.Sqrt(a), math.Sqrt(1 - a)
}

// Velocity returns the weights of the target of v prediction: noise·noise + clean·latents (Salimans and Ho 2022).
func (s *Schedule) Velocity(t int) (clean, noise float64) {
	a := float64(s.AlphasCumprod[t])
	return -math.Sqrt(1 - a), math.Sqrt(a)
}

// SNR is the signal to noise ratio at a timestep, ᾱ/(1-ᾱ).
func (s *Schedule) SNR(t int) float64 {
	a := float64(s.AlphasCumprod[t])
	return a / (1 - a)
}

// sigmas are √((1-ᾱ)/ᾱ), rounded after each operation.
func (s *Schedule) sigmas() []float32 {
	out := make([]float32, len(s.AlphasCumprod))
	for i, a := range s.AlphasCumprod {
		out[i] = sqrt32(float32(float32(1-a) / a))
	}
	return out
}

// withoutZero returns a schedule whose last ᾱ, 0 after zeroTerminalSNR, is 2⁻²⁴, so that its sigma is finite. The
// methods that step in sigma use it.
func (s *Schedule) withoutZero() *Schedule {
	a := append([]float32(nil), s.AlphasCumprod...)
	a[len(a)-1] = 1.0 / (1 << 24)
	return &Schedule{Betas: s.Betas, AlphasCumprod: a}
}
