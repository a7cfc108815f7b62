package events

// BaseLimits is what a base model's card says about the inputs it takes. Zero fields mean Stable
// Diffusion 1.5's values, as WithDefaults fills them in.
type BaseLimits struct {
	Name   string // by which the base is configured: "embedded", "sd15"
	SHA256 string // hex, of its weights: part of its version ids

	Sizes         []int // widths and heights that it draws, in pixels, ascending
	Width, Height int   // drawn when nothing is asked for; both in Sizes
	MaxPixels     int   // width × height at most

	Resolution         int // trained at when nothing is asked for, in pixels
	MinResolution      int
	MaxResolution      int
	ResolutionMultiple int

	InferenceSteps    int // drawn with when nothing is asked for
	MaxInferenceSteps int
	Guidance          float64 // drawn with when nothing is asked for, from 1 to 20
	Scheduler         string  // the same; one that the schema knows
	LoraScale         float64 // of concepts when nothing is asked for
	InversionSteps    int     // of the advanced trainer when nothing is asked for
	TuningSteps       int
}

// WithDefaults fills what the card leaves open with the values of the public models of February 2023
// (github.com/replicate/lora-inference predict.py, github.com/replicate/lora-training).
func (b BaseLimits) WithDefaults() BaseLimits {
	if len(b.Sizes) == 0 {
		b.Sizes = []int{128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024}
	}
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&b.Width, 512)
	set(&b.Height, 512)
	set(&b.MaxPixels, 786432)
	set(&b.Resolution, 512)
	set(&b.MinResolution, 64)
	set(&b.MaxResolution, 1024)
	set(&b.ResolutionMultiple, 64)
	set(&b.InferenceSteps, 50)
	set(&b.MaxInferenceSteps, 500)
	if b.Guidance == 0 {
		b.Guidance = 7.5
	}
	if b.Scheduler == "" {
		b.Scheduler = "DPMSolverMultistep"
	}
	if b.LoraScale == 0 {
		b.LoraScale = 0.5
	}
	set(&b.InversionSteps, 500)
	set(&b.TuningSteps, 1000)
	return b
}
