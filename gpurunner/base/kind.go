package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lowrank/lowrank/gpurunner/sampler"
)

const schedulerConfig = "scheduler/scheduler_config.json"

// Kind is a family of models that take the same inputs.
type Kind string

// The kinds.
const (
	SD1        Kind = "sd1"
	SD1Inpaint Kind = "sd1-inpaint"
	SD2        Kind = "sd2"
	SD2Inpaint Kind = "sd2-inpaint"
	SDXL       Kind = "sdxl"
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{SD1, SD1Inpaint, SD2, SD2Inpaint, SDXL} }

func (k Kind) known() bool {
	for _, other := range Kinds() {
		if k == other {
			return true
		}
	}
	return false
}

// Inpaints reports whether the kind takes a mask and the picture around it as further input channels.
func (k Kind) Inpaints() bool { return k == SD1Inpaint || k == SD2Inpaint }

// traits are what the configurations say that decides kind and sizes.
type traits struct {
	unet struct {
		Class            string `json:"_class_name"`
		InChannels       int    `json:"in_channels"`
		CrossAttention   any    `json:"cross_attention_dim"`
		LinearProjection bool   `json:"use_linear_projection"`
		AddEmbedding     string `json:"addition_embed_type"`
		SampleSize       any    `json:"sample_size"`
	}
	vae struct {
		Channels       []int `json:"block_out_channels"`
		LatentChannels int   `json:"latent_channels"`
	}
	text struct {
		Activation string `json:"hidden_act"`
	}
	prediction string
	second     bool // there is a second text encoder
}

// pipelineConfig says how the parts belong together. Folders of parts that were put together by hand lack it.
const pipelineConfig = "model_index.json"

// readTraits reads them through config, which gives a part's JSON.
func readTraits(config func(path string) ([]byte, error), second bool) (*traits, error) {
	t := &traits{second: second}
	t.unet.InChannels, t.vae.LatentChannels = 4, 4
	for _, f := range []struct {
		path string
		into any
	}{
		{"unet/config.json", &t.unet}, {"vae/config.json", &t.vae}, {"text_encoder/config.json", &t.text},
		{pipelineConfig, &map[string]any{}},
	} {
		text, err := config(f.path)
		if f.path == pipelineConfig && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, f.into); err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
	}
	text, err := config(schedulerConfig)
	if err != nil {
		return nil, err
	}
	c, err := sampler.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	t.prediction = c.PredictionType
	return t, nil
}

// kind tells the kind from the configurations. What separates 1.x from 2.x is OpenCLIP's text encoder (gelu instead
// of quick_gelu, 1024 channels) and linear projections; sizes do not, there are small models of both.
func (t *traits) kind() (Kind, error) {
	if c := t.unet.Class; c != "" && c != "UNet2DConditionModel" {
		return "", fmt.Errorf("unet/config.json: _class_name is %q, and only UNet2DConditionModel is supported", c)
	}
	inpaints := false
	switch latent := t.vae.LatentChannels; t.unet.InChannels {
	case latent:
	case 2*latent + 1:
		inpaints = true
	default:
		return "", fmt.Errorf("unet/config.json: in_channels is %d; with %d latent channels it must be %d, or %d for inpainting",
			t.unet.InChannels, latent, latent, 2*latent+1)
	}
	switch {
	case t.second || t.unet.AddEmbedding == "text_time":
		if !t.second {
			return "", fmt.Errorf("unet/config.json: addition_embed_type is text_time, but there is no text_encoder_2 (an SDXL refiner is not supported)")
		}
		if inpaints {
			return "", fmt.Errorf("unet/config.json: in_channels is %d: inpainting models of SDXL are not supported", t.unet.InChannels)
		}
		return SDXL, nil
	case t.text.Activation == "gelu" || t.unet.LinearProjection || t.unet.CrossAttention == 1024.0:
		if inpaints {
			return SD2Inpaint, nil
		}
		return SD2, nil
	case inpaints:
		return SD1Inpaint, nil
	}
	return SD1, nil
}

// nativeSize is the side of the pictures that the model was trained on, in pixels; 0 when no file tells.
func (t *traits) nativeSize() int {
	latent, _ := t.unet.SampleSize.(float64)
	if n := len(t.vae.Channels); n > 0 && n <= 8 && latent >= 1 && latent <= 1<<12 {
		return int(latent) << (n - 1)
	}
	return 0
}

// factor is the number of picture pixels per latent pixel, each way.
func (t *traits) factor() int {
	if n := len(t.vae.Channels); n > 0 && n <= 8 {
		return 1 << (n - 1)
	}
	return 8
}
