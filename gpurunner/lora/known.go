package lora

import (
	"sync"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Known returns the public base models' layers, so that files can be inspected
// and converted without a base model at hand. The configurations are those of
// runwayml/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1 and
// stabilityai/stable-diffusion-xl-base-1.0; their descendants share them.
var Known = sync.OnceValue(func() []*Base {
	return []*Base{
		known("SD 1", sd1UNet, sd1Text),
		known("SD 2", sd2UNet, sd2Text),
		known("SDXL", sdxlUNet, sd1Text, sdxlText2),
	}
})

func known(name, u string, encoders ...string) *Base {
	config, err := unet.ParseConfig([]byte(u))
	if err != nil {
		panic(err) // a constant of this file
	}
	var texts []clip.Config
	for _, e := range encoders {
		c, err := clip.ParseConfig([]byte(e))
		if err != nil {
			panic(err)
		}
		texts = append(texts, c)
	}
	return NewBase(name, config, texts...)
}

const (
	sd1UNet = `{"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "cross_attention_dim": 768,
		"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
		"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}`
	sd2UNet = `{"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024,
		"use_linear_projection": true,
		"down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
		"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]}`
	sdxlUNet = `{"block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048,
		"use_linear_projection": true, "transformer_layers_per_block": [1, 2, 10],
		"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
		"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
		"up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}`

	sd1Text = `{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 49408}`
	sd2Text = `{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "vocab_size": 49408,
		"hidden_act": "gelu"}`
	sdxlText2 = `{"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20, "vocab_size": 49408,
		"hidden_act": "gelu", "architectures": ["CLIPTextModelWithProjection"], "projection_dim": 1280}`
)
