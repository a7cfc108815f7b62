package vae

import (
	"encoding/json"
	"fmt"
)

// Config is what vae/config.json says.
type Config struct {
	InChannels     int      `json:"in_channels"`
	OutChannels    int      `json:"out_channels"`
	LatentChannels int      `json:"latent_channels"`
	Channels       []int    `json:"block_out_channels"`
	LayersPerBlock int      `json:"layers_per_block"`
	Groups         int      `json:"norm_num_groups"`
	ScalingFactor  float64  `json:"scaling_factor"`
	ShiftFactor    *float64 `json:"shift_factor"`
	DownBlocks     []string `json:"down_block_types"`
	UpBlocks       []string `json:"up_block_types"`
	ActFn          string   `json:"act_fn"`
	QuantConv      bool     `json:"use_quant_conv"`
	PostQuantConv  bool     `json:"use_post_quant_conv"`
	MidAttention   bool     `json:"mid_block_add_attention"`
}

// ParseConfig reads a config.json and checks that this package can build it.
func ParseConfig(data []byte) (Config, error) {
	c := Config{
		InChannels: 3, OutChannels: 3, LatentChannels: 4, LayersPerBlock: 1, Groups: 32, ScalingFactor: 0.18215, ActFn: "silu",
		QuantConv: true, PostQuantConv: true, MidAttention: true,
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("vae's config.json: %w", err)
	}
	if n := len(c.Channels); n == 0 || n > 8 {
		return c, fmt.Errorf("vae's config.json: block_out_channels has %d entries", n)
	}
	if c.InChannels != 3 || c.OutChannels != 3 || c.LatentChannels < 1 || c.LayersPerBlock < 1 || c.LayersPerBlock > 64 || c.Groups < 1 || c.ScalingFactor <= 0 {
		return c, fmt.Errorf("vae's config.json: want 3 picture channels and positive latent_channels, layers_per_block (at most 64), norm_num_groups and scaling_factor")
	}
	for i, ch := range c.Channels {
		if ch > 1<<16 {
			return c, fmt.Errorf("vae's config.json: block_out_channels[%d] is %d; it must be at most %d", i, ch, 1<<16)
		}
		if ch < 1 || ch%c.Groups != 0 {
			return c, fmt.Errorf("vae's config.json: block_out_channels[%d] is %d, no multiple of norm_num_groups %d", i, ch, c.Groups)
		}
	}
	for _, b := range append(append([]string{}, c.DownBlocks...), c.UpBlocks...) {
		if b != "DownEncoderBlock2D" && b != "UpDecoderBlock2D" {
			return c, fmt.Errorf("vae's config.json: block %q is not known", b)
		}
	}
	if !c.QuantConv || !c.PostQuantConv || !c.MidAttention || c.ActFn != "silu" || (c.ShiftFactor != nil && *c.ShiftFactor != 0) {
		return c, fmt.Errorf("vae's config.json: use_quant_conv, mid_block_add_attention, act_fn or shift_factor has a value that no Stable Diffusion model up to XL uses")
	}
	return c, nil
}

// DecoderBytes is the least device memory that decoding one picture from
// latents of h×w takes: the two feature maps of the picture's size that its
// widest residual block reads, and the one that it makes.
func (c Config) DecoderBytes(h, w int) int64 {
	const float = 4 // bytes
	out := c.Channels[0]
	in := c.Channels[min(1, len(c.Channels)-1)]
	pixels := int64(h*c.Factor()) * int64(w*c.Factor())
	return float * pixels * int64(2*in+out)
}

// Factor is the number of picture pixels a latent pixel stands for, each way.
func (c Config) Factor() int { return 1 << (len(c.Channels) - 1) }
