package clip

import (
	"encoding/json"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// Config is what text_encoder/config.json says.
type Config struct {
	Architectures    []string `json:"architectures"`
	HiddenAct        string   `json:"hidden_act"`
	HiddenSize       int      `json:"hidden_size"`
	IntermediateSize int      `json:"intermediate_size"`
	LayerNormEps     float64  `json:"layer_norm_eps"`
	Positions        int      `json:"max_position_embeddings"`
	Heads            int      `json:"num_attention_heads"`
	Layers           int      `json:"num_hidden_layers"`
	ProjectionDim    int      `json:"projection_dim"`
	VocabSize        int      `json:"vocab_size"`
	EOS              int      `json:"eos_token_id"`
}

// ParseConfig reads a config.json and checks it.
func ParseConfig(data []byte) (Config, error) {
	c := Config{HiddenAct: "quick_gelu", LayerNormEps: 1e-5, Positions: 77, EOS: 49407}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("text encoder's config.json: %w", err)
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize}, {"num_attention_heads", c.Heads},
		{"num_hidden_layers", c.Layers}, {"vocab_size", c.VocabSize}, {"max_position_embeddings", c.Positions},
	} {
		if f.value <= 0 || f.value > 1<<24 {
			return c, fmt.Errorf("text encoder's config.json: %s is %d", f.name, f.value)
		}
	}
	if c.HiddenSize%c.Heads != 0 {
		return c, fmt.Errorf("text encoder's config.json: hidden_size %d is no multiple of num_attention_heads %d", c.HiddenSize, c.Heads)
	}
	if _, err := c.activation(); err != nil {
		return c, err
	}
	return c, nil
}

func (c Config) activation() (device.Activation, error) {
	switch c.HiddenAct {
	case "quick_gelu":
		return device.QuickGELU, nil
	case "gelu":
		return device.GELU, nil
	}
	return 0, fmt.Errorf("text encoder's config.json: hidden_act %q is not known (quick_gelu or gelu)", c.HiddenAct)
}

// projects reports whether the encoder has a text projection.
func (c Config) projects() bool {
	for _, a := range c.Architectures {
		if a == "CLIPTextModelWithProjection" {
			return true
		}
	}
	return false
}
