package unet

import (
	"encoding/json"
	"fmt"
)

// Config is what unet/config.json says.
type Config struct {
	InChannels       int       `json:"in_channels"`
	OutChannels      int       `json:"out_channels"`
	Channels         []int     `json:"block_out_channels"`
	LayersPerBlock   int       `json:"layers_per_block"`
	DownBlocks       []string  `json:"down_block_types"`
	UpBlocks         []string  `json:"up_block_types"`
	CrossAttention   int       `json:"cross_attention_dim"`
	Heads            perBlock  `json:"attention_head_dim"` // despite its name
	NumHeads         *perBlock `json:"num_attention_heads"`
	TransformerDepth perBlock  `json:"transformer_layers_per_block"`
	LinearProjection bool      `json:"use_linear_projection"`
	Groups           int       `json:"norm_num_groups"`
	NormEps          float64   `json:"norm_eps"`
	FlipSinCos       bool      `json:"flip_sin_to_cos"`
	FreqShift        float64   `json:"freq_shift"`
	ActFn            string    `json:"act_fn"`
	SampleSize       int       `json:"sample_size"`

	AddEmbedding      string `json:"addition_embed_type"` // "" or "text_time"
	AddTimeDim        int    `json:"addition_time_embed_dim"`
	AddEmbeddingInput int    `json:"projection_class_embeddings_input_dim"`

	// What other models of this class have and Stable Diffusion has not.
	ClassEmbedding   *string `json:"class_embed_type"`
	OnlyCross        bool    `json:"only_cross_attention"`
	DualCross        bool    `json:"dual_cross_attention"`
	TimeEmbedding    *string `json:"time_embedding_type"`
	EncoderHidProj   *string `json:"encoder_hid_dim_type"`
	ResnetTimeScale  *string `json:"resnet_time_scale_shift"`
	CenterInput      bool    `json:"center_input_sample"`
	MidBlockType     *string `json:"mid_block_type"`
	DownsamplePad    int     `json:"downsample_padding"`
	ConvInKernel     int     `json:"conv_in_kernel"`
	ConvOutKernel    int     `json:"conv_out_kernel"`
	TimestepPostAct  *string `json:"timestep_post_act"`
	MidBlockScale    float64 `json:"mid_block_scale_factor"`
	CrossNorm        *string `json:"cross_attention_norm"`
	ReverseDepths    []any   `json:"reverse_transformer_layers_per_block"`
	AttentionTypeStr string  `json:"attention_type"`
}

// perBlock is a number for all blocks, or one each.
type perBlock struct {
	all  int
	each []int // nil: all
}

func (p *perBlock) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil // as if it were not there
	}
	var one int
	if err := json.Unmarshal(b, &one); err == nil {
		*p = perBlock{all: one}
		return nil
	}
	var many []int
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("want a number or a list of numbers, got %.40q", b)
	}
	*p = perBlock{each: many}
	return nil
}

// at returns block i's number.
func (p perBlock) at(i int) int {
	if p.each == nil {
		return p.all
	}
	return p.each[i]
}

const (
	crossDown = "CrossAttnDownBlock2D"
	plainDown = "DownBlock2D"
	crossUp   = "CrossAttnUpBlock2D"
	plainUp   = "UpBlock2D"
)

// ParseConfig reads a config.json and checks that this package can build it.
func ParseConfig(data []byte) (Config, error) {
	c := Config{
		InChannels: 4, OutChannels: 4, LayersPerBlock: 2, CrossAttention: 1280, Groups: 32, NormEps: 1e-5, FlipSinCos: true,
		Heads: perBlock{all: 8}, TransformerDepth: perBlock{all: 1}, ActFn: "silu", DownsamplePad: 1, ConvInKernel: 3, ConvOutKernel: 3,
		MidBlockScale: 1, AttentionTypeStr: "default",
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("unet's config.json: %w", err)
	}
	if c.NumHeads != nil {
		c.Heads = *c.NumHeads
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("unet's config.json: %w", err)
	}
	return c, nil
}

func (c Config) check() error {
	n := len(c.Channels)
	if n == 0 || n > 8 {
		return fmt.Errorf("block_out_channels has %d entries", n)
	}
	if len(c.DownBlocks) != n || len(c.UpBlocks) != n {
		return fmt.Errorf("%d block_out_channels, %d down_block_types, %d up_block_types: they must be as many", n, len(c.DownBlocks), len(c.UpBlocks))
	}
	heads := "attention_head_dim"
	if c.NumHeads != nil {
		heads = "num_attention_heads"
	}
	for _, p := range []struct {
		name string
		perBlock
	}{{heads, c.Heads}, {"transformer_layers_per_block", c.TransformerDepth}} {
		if p.each != nil && len(p.each) != n {
			return fmt.Errorf("%s is a list of %d for %d blocks; it must be one number, or one for each block", p.name, len(p.each), n)
		}
		for i := range n {
			if v := p.at(i); v < 1 || v > 1024 {
				return fmt.Errorf("%s is %d; it must be from 1 to 1024", p.name, v)
			}
		}
	}
	if c.InChannels < 1 || c.OutChannels < 1 || c.LayersPerBlock < 1 || c.CrossAttention < 1 || c.Groups < 1 || c.LayersPerBlock > 64 {
		return fmt.Errorf("in_channels, out_channels, layers_per_block, cross_attention_dim and norm_num_groups must be positive, layers_per_block at most 64")
	}
	for i, ch := range c.Channels {
		if ch > 1<<16 {
			return fmt.Errorf("block_out_channels[%d] is %d; it must be at most %d", i, ch, 1<<16)
		}
		if ch < 1 || ch%c.Groups != 0 {
			return fmt.Errorf("block_out_channels[%d] is %d, no multiple of norm_num_groups %d", i, ch, c.Groups)
		}
		if ch%c.Heads.at(i) != 0 {
			return fmt.Errorf("block_out_channels[%d] is %d, no multiple of its %d heads", i, ch, c.Heads.at(i))
		}
		if c.DownBlocks[i] != crossDown && c.DownBlocks[i] != plainDown {
			return fmt.Errorf("down block %q is not known (%s, %s)", c.DownBlocks[i], crossDown, plainDown)
		}
		if c.UpBlocks[i] != crossUp && c.UpBlocks[i] != plainUp {
			return fmt.Errorf("up block %q is not known (%s, %s)", c.UpBlocks[i], crossUp, plainUp)
		}
	}
	if c.AddEmbedding != "" && (c.AddEmbedding != "text_time" || c.AddTimeDim < 2 || c.AddEmbeddingInput < 1) {
		return fmt.Errorf("addition_embed_type %q with addition_time_embed_dim %d is not known", c.AddEmbedding, c.AddTimeDim)
	}
	others := []struct {
		name string
		set  bool
	}{
		{"class_embed_type", set(c.ClassEmbedding)}, {"only_cross_attention", c.OnlyCross}, {"dual_cross_attention", c.DualCross},
		{"time_embedding_type", set(c.TimeEmbedding) && *c.TimeEmbedding != "positional"}, {"encoder_hid_dim_type", set(c.EncoderHidProj)},
		{"resnet_time_scale_shift", set(c.ResnetTimeScale) && *c.ResnetTimeScale != "default"}, {"center_input_sample", c.CenterInput},
		{"mid_block_type", set(c.MidBlockType) && *c.MidBlockType != "UNetMidBlock2DCrossAttn"}, {"downsample_padding", c.DownsamplePad != 1},
		{"conv_in_kernel", c.ConvInKernel != 3}, {"conv_out_kernel", c.ConvOutKernel != 3}, {"act_fn", c.ActFn != "silu" && c.ActFn != "swish"},
		{"timestep_post_act", set(c.TimestepPostAct)}, {"mid_block_scale_factor", c.MidBlockScale != 1}, {"cross_attention_norm", set(c.CrossNorm)},
		{"reverse_transformer_layers_per_block", len(c.ReverseDepths) > 0}, {"attention_type", c.AttentionTypeStr != "default"},
	}
	for _, o := range others {
		if o.set {
			return fmt.Errorf("%s has a value that no Stable Diffusion model uses", o.name)
		}
	}
	return nil
}

// AttentionWork is the number of multiply-adds of self-attention's products in
// one evaluation on one sample of h×w latents.
func (c Config) AttentionWork(h, w int) float64 {
	work, last := 0.0, len(c.Channels)-1
	for i, ch := range c.Channels {
		layers := 0
		if c.DownBlocks[i] == crossDown {
			layers += c.LayersPerBlock
		}
		if c.UpBlocks[last-i] == crossUp {
			layers += c.LayersPerBlock + 1
		}
		if i == last {
			layers++ // of the middle
		}
		tokens := float64(h) * float64(w)
		work += 2 * tokens * tokens * float64(ch*layers*c.TransformerDepth.at(i)) // q·kᵀ and p·v
		h, w = (h+1)/2, (w+1)/2
	}
	return work
}

func set(s *string) bool { return s != nil && *s != "" }
