package base

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

// Card says what a base model is good for.
type Card struct {
	Name        string `json:"name"`
	Kind        Kind   `json:"kind"`
	Description string `json:"description,omitempty"`
	License     string `json:"license,omitempty"`

	NativeSize int    `json:"native_size"`     // side of the pictures it was trained on, in pixels
	Prediction string `json:"prediction_type"` // what the UNet predicts: epsilon, v_prediction or sample

	Drawing  Drawing  `json:"drawing"`
	Training Training `json:"training"`

	// Weights is the SHA-256 of each weight file, in hex, by its path inside the folder, or by its name for a
	// single file.
	Weights map[string]string `json:"weights,omitempty"`

	// Configs is, for a single file of other than the usual shape, a diffusers folder beside the card whose
	// configurations and tokenizer belong to it.
	Configs string `json:"configs,omitempty"`
}

// Drawing is what is drawn when nothing is asked for, and what may be asked for.
type Drawing struct {
	Sizes     []int   `json:"sizes"`      // widths and heights, in pixels, ascending
	MaxPixels int     `json:"max_pixels"` // width times height at most
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Steps     int     `json:"steps"`
	MaxSteps  int     `json:"max_steps"`
	Guidance  float64 `json:"guidance_scale"`
	Scheduler string  `json:"scheduler"` // by its name in the API: DPMSolverMultistep
	LoRAScale float64 `json:"lora_scale"`
}

// Training is the same for training.
type Training struct {
	Resolution         int `json:"resolution"` // in pixels
	MinResolution      int `json:"min_resolution"`
	MaxResolution      int `json:"max_resolution"`
	ResolutionMultiple int `json:"resolution_multiple"`
	InversionSteps     int `json:"inversion_steps"` // of the advanced trainer
	TuningSteps        int `json:"tuning_steps"`

	// Presets are, for each task (face, object, style), the options that differ from the task's usual ones, by their
	// names in the API: "lora_rank", "max_train_steps_ti". A task that is not named has the usual ones.
	Presets map[string]Preset `json:"presets,omitempty"`
}

// Preset is options by name; values are string, bool or json.Number.
type Preset map[string]any

// Names lists the options, sorted.
func (p Preset) Names() []string { return slices.Sorted(maps.Keys(p)) }

// Tasks are the names that presets may have.
func Tasks() []string { return []string{"face", "object", "style"} }

// publicSizes are the widths and heights that the public model of February 2023 takes.
var publicSizes = []int{128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024}

// defaultCard is the card of a model that has none.
func defaultCard(name string, kind Kind, t *traits) Card {
	native := t.nativeSize()
	if native == 0 {
		native = map[Kind]int{SD2: 768, SDXL: 1024}[kind]
	}
	if native == 0 {
		native = 512
	}
	c := Card{Name: name, Kind: kind, NativeSize: native, Prediction: t.prediction}
	c.Drawing = Drawing{
		Sizes: slices.Clone(publicSizes), MaxPixels: max(786432, native*native), Width: native, Height: native,
		Steps: 50, MaxSteps: 500, Guidance: 7.5, Scheduler: "DPMSolverMultistep", LoRAScale: 0.5,
	}
	if kind == SDXL {
		c.Drawing.Sizes = append(c.Drawing.Sizes, 1152, 1280, 1344, 1536)
		c.Drawing.Guidance = 5
	}
	if !slices.Contains(c.Drawing.Sizes, native) {
		c.Drawing.Sizes = append(c.Drawing.Sizes, native)
		slices.Sort(c.Drawing.Sizes)
	}
	multiple := 8 * t.factor()
	c.Training = Training{
		Resolution: native, MinResolution: multiple, MaxResolution: 2 * native, ResolutionMultiple: multiple,
		InversionSteps: 500, TuningSteps: 1000,
	}
	if native%multiple != 0 {
		c.Training.ResolutionMultiple, c.Training.MinResolution = t.factor(), t.factor()
	}
	return c
}

// apply reads a card's JSON over c: what it does not mention stays.
func (c *Card) apply(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(c); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	return c.validate()
}

func (c *Card) validate() error {
	if !c.Kind.known() {
		return fmt.Errorf("kind is %q; it must be one of %v", c.Kind, Kinds())
	}
	switch c.Prediction {
	case "epsilon", "v_prediction", "sample":
	default:
		return fmt.Errorf("prediction_type is %q; it must be epsilon, v_prediction or sample", c.Prediction)
	}
	for _, f := range []struct {
		name     string
		value    int
		min, max int
	}{
		{"native_size", c.NativeSize, 8, 1 << 14}, {"drawing.max_pixels", c.Drawing.MaxPixels, 64, 1 << 28},
		{"drawing.steps", c.Drawing.Steps, 1, c.Drawing.MaxSteps}, {"drawing.max_steps", c.Drawing.MaxSteps, 1, 1000},
		{"training.resolution_multiple", c.Training.ResolutionMultiple, 1, 1024},
		{"training.min_resolution", c.Training.MinResolution, 8, 1 << 14}, {"training.max_resolution", c.Training.MaxResolution, c.Training.MinResolution, 1 << 14},
		{"training.resolution", c.Training.Resolution, c.Training.MinResolution, c.Training.MaxResolution},
		{"training.inversion_steps", c.Training.InversionSteps, 0, 1 << 20}, {"training.tuning_steps", c.Training.TuningSteps, 0, 1 << 20},
	} {
		if f.value < f.min || f.value > f.max {
			return fmt.Errorf("%s is %d; it must be from %d to %d", f.name, f.value, f.min, f.max)
		}
	}
	if g := c.Drawing.Guidance; math.IsNaN(g) || g < 0 || g > 100 {
		return fmt.Errorf("drawing.guidance_scale is %v; it must be from 0 to 100", g)
	}
	if c.Training.Resolution%c.Training.ResolutionMultiple != 0 {
		return fmt.Errorf("training.resolution is %d, no multiple of %d", c.Training.Resolution, c.Training.ResolutionMultiple)
	}
	if err := c.validateSizes(); err != nil {
		return err
	}
	for _, task := range slices.Sorted(maps.Keys(c.Training.Presets)) {
		if !slices.Contains(Tasks(), task) {
			return fmt.Errorf("training.presets has the task %q; there are %v", task, Tasks())
		}
		p := c.Training.Presets[task]
		for _, name := range p.Names() {
			switch p[name].(type) {
			case string, bool, json.Number:
			default:
				return fmt.Errorf("training.presets.%s.%s must be a number, true, false or a text", task, name)
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(c.Weights)) {
		if b, err := hex.DecodeString(c.Weights[path]); err != nil || len(b) != 32 {
			return fmt.Errorf("weights: the SHA-256 of %q must have 64 hex digits", path)
		}
	}
	return nil
}

func (c *Card) validateSizes() error {
	d := c.Drawing
	if len(d.Sizes) == 0 || !slices.IsSorted(d.Sizes) {
		return errors.New("drawing.sizes must be a list in ascending order")
	}
	for _, s := range d.Sizes {
		if s < 8 || s > 1<<14 || s%8 != 0 {
			return fmt.Errorf("drawing.sizes has %d; sizes are multiples of 8 from 8 to 16384", s)
		}
	}
	if !slices.Contains(d.Sizes, d.Width) || !slices.Contains(d.Sizes, d.Height) || d.Width*d.Height > d.MaxPixels {
		return fmt.Errorf("drawing: the default size %d×%d is not among the sizes, or above max_pixels", d.Width, d.Height)
	}
	return nil
}
