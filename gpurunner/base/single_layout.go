package base

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// checkpoint is a file in the layout of CompVis/stable-diffusion, ldm/modules/diffusionmodules/{openaimodel,model}.py.
type checkpoint struct{ file *safetensors.File }

func (c checkpoint) has(name string) bool {
	_, ok := c.file.Lookup(name)
	return ok
}

// dim is dimension i of a tensor, 0 where there is no such tensor or dimension.
func (c checkpoint) dim(name string, i int) int {
	if t, ok := c.file.Lookup(name); ok && i < len(t.Shape) {
		return t.Shape[i]
	}
	return 0
}

// rank is the number of a tensor's dimensions.
func (c checkpoint) rank(name string) int {
	t, _ := c.file.Lookup(name)
	return len(t.Shape)
}

func (c checkpoint) hasPrefix(prefix string) bool {
	names := c.file.Names()
	i, _ := slices.BinarySearch(names, prefix)
	return i < len(names) && strings.HasPrefix(names[i], prefix)
}

// recognise says what the file is when it is not what is read here.
func (c checkpoint) recognise() error {
	const convert = "only diffusers folders of it are read: convert it with diffusers' from_single_file and save_pretrained"
	switch {
	case c.hasPrefix("conditioner.embedders."):
		return fmt.Errorf("it is a single-file checkpoint of SDXL, and %s", convert)
	case c.hasPrefix("cond_stage_model.model."):
		return fmt.Errorf("it is a single-file checkpoint of Stable Diffusion 2.x, and %s", convert)
	case c.hasPrefix("lora_") || c.hasPrefix("unet:0:") || c.hasPrefix("unet.down_blocks."):
		return errors.New("it is an adapter (LoRA), not a base model")
	}
	for _, p := range []struct{ prefix, part string }{{unetPrefix, "a UNet"}, {vaePrefix, "an autoencoder"}, {textPrefix, "a text encoder"}} {
		if !c.hasPrefix(p.prefix) {
			return fmt.Errorf("it has no tensors %s…, so no %s: it is not a whole checkpoint of Stable Diffusion 1.x", p.prefix, strings.TrimPrefix(strings.TrimPrefix(p.part, "a "), "an "))
		}
	}
	return nil
}

// renamed maps the tensors below prefix by their modules: modules gives the diffusers name of a stored module, and the
// longest that fits counts. Tensors of no known module are an error, which names one.
func (c checkpoint) renamed(prefix string, modules map[string]string, leaves map[string]string) (map[string]string, error) {
	names := map[string]string{}
	for _, stored := range c.file.Names() {
		key, ok := strings.CutPrefix(stored, prefix)
		if !ok || strings.HasPrefix(key, "loss.") { // left over from training the autoencoder
			continue
		}
		to := ""
		for cut := len(key); cut > 0; cut = strings.LastIndexByte(key[:cut], '.') {
			module, found := modules[key[:cut]]
			if !found {
				continue
			}
			rest := strings.TrimPrefix(key[cut:], ".")
			if strings.Contains(module, ".resnets.") {
				inner, leaf := rest, ""
				if i := strings.LastIndexByte(rest, '.'); i >= 0 {
					inner, leaf = rest[:i], rest[i:]
				}
				if r, ok := leaves[inner]; ok {
					rest = r + leaf
				}
			}
			to = module + "." + rest
			break
		}
		if to == "" {
			return nil, fmt.Errorf("tensor %q belongs to no layer of this kind of model", stored)
		}
		names[stored] = to
	}
	return names, nil
}

// unetLeaves are the layers of a residual block.
var unetLeaves = map[string]string{
	"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
	"out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}

// unet walks the numbered blocks: a level is a row of residual blocks, each with or without attention, up to a
// downsampling; the way up has one block more per level.
func (c checkpoint) unet() (derived, error) {
	at := func(format string, args ...any) string { return unetPrefix + fmt.Sprintf(format, args...) }
	modules := map[string]string{
		"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2", "input_blocks.0.0": "conv_in",
		"out.0": "conv_norm_out", "out.2": "conv_out",
		"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0", "middle_block.2": "mid_block.resnets.1",
	}
	var channels, layers []int
	var down, up []string
	level, blocks, attends := 0, 0, false
	finish := func() {
		layers = append(layers, blocks)
		down = append(down, blockType("Down", attends))
		level, blocks, attends = level+1, 0, false
	}
	for k := 1; ; k++ {
		if c.has(at("input_blocks.%d.0.op.weight", k)) {
			modules[fmt.Sprintf("input_blocks.%d.0.op", k)] = fmt.Sprintf("down_blocks.%d.downsamplers.0.conv", level)
			finish()
			continue
		}
		if !c.has(at("input_blocks.%d.0.in_layers.0.weight", k)) {
			break
		}
		modules[fmt.Sprintf("input_blocks.%d.0", k)] = fmt.Sprintf("down_blocks.%d.resnets.%d", level, blocks)
		if c.has(at("input_blocks.%d.1.norm.weight", k)) {
			modules[fmt.Sprintf("input_blocks.%d.1", k)] = fmt.Sprintf("down_blocks.%d.attentions.%d", level, blocks)
			attends = true
		}
		if blocks == 0 {
			channels = append(channels, c.dim(at("input_blocks.%d.0.out_layers.3.weight", k), 0))
		}
		blocks++
	}
	finish()
	per := layers[0]
	for _, n := range layers {
		if n != per || n == 0 {
			return derived{}, fmt.Errorf("its levels have %v residual blocks; they must have equally many", layers)
		}
	}
	for i := range layers {
		attends := false
		for j := range per + 1 {
			k := (per+1)*i + j
			if !c.has(at("output_blocks.%d.0.in_layers.0.weight", k)) {
				return derived{}, fmt.Errorf("output_blocks.%d is missing", k)
			}
			modules[fmt.Sprintf("output_blocks.%d.0", k)] = fmt.Sprintf("up_blocks.%d.resnets.%d", i, j)
			if c.has(at("output_blocks.%d.1.norm.weight", k)) {
				modules[fmt.Sprintf("output_blocks.%d.1", k)] = fmt.Sprintf("up_blocks.%d.attentions.%d", i, j)
				attends = true
			}
			for _, n := range []int{1, 2} {
				if c.has(at("output_blocks.%d.%d.conv.weight", k, n)) {
					modules[fmt.Sprintf("output_blocks.%d.%d.conv", k, n)] = fmt.Sprintf("up_blocks.%d.upsamplers.0.conv", i)
				}
			}
		}
		up = append(up, blockType("Up", attends))
	}
	names, err := c.renamed(unetPrefix, modules, unetLeaves)
	if err != nil {
		return derived{}, err
	}
	middle := at("middle_block.1.")
	return derived{names, map[string]any{
		"_class_name": "UNet2DConditionModel", "act_fn": "silu", "flip_sin_to_cos": true, "freq_shift": 0, "norm_eps": 1e-5,
		"in_channels": c.dim(at("input_blocks.0.0.weight"), 1), "out_channels": c.dim(at("out.2.weight"), 0),
		"block_out_channels": channels, "layers_per_block": per, "down_block_types": down, "up_block_types": up,
		"cross_attention_dim":   c.dim(middle+"transformer_blocks.0.attn2.to_k.weight", 1),
		"use_linear_projection": c.rank(middle+"proj_in.weight") == 2,
		"attention_head_dim":    8, "norm_num_groups": 32, "sample_size": 64,
	}}, nil
}

func blockType(direction string, attends bool) string {
	if attends {
		return "CrossAttn" + direction + "Block2D"
	}
	return direction + "Block2D"
}

// vae walks the levels of encoder and decoder; the decoder numbers its own from the full size on.
func (c checkpoint) vae() (derived, error) {
	at := func(format string, args ...any) string { return vaePrefix + fmt.Sprintf(format, args...) }
	modules := map[string]string{"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
	for _, side := range []string{"encoder", "decoder"} {
		for from, to := range map[string]string{
			"conv_in": "conv_in", "conv_out": "conv_out", "norm_out": "conv_norm_out", "mid.block_1": "mid_block.resnets.0",
			"mid.block_2": "mid_block.resnets.1", "mid.attn_1": "mid_block.attentions.0",
		} {
			modules[side+"."+from] = side + "." + to
		}
	}
	var channels []int
	for c.has(at("encoder.down.%d.block.0.conv1.weight", len(channels))) {
		channels = append(channels, c.dim(at("encoder.down.%d.block.0.conv1.weight", len(channels)), 0))
	}
	n := len(channels)
	if n == 0 {
		return derived{}, errors.New("encoder.down.0 is missing")
	}
	per := 0
	for c.has(at("encoder.down.0.block.%d.conv1.weight", per)) {
		per++
	}
	for i := range n {
		for j := range per {
			modules[fmt.Sprintf("encoder.down.%d.block.%d", i, j)] = fmt.Sprintf("encoder.down_blocks.%d.resnets.%d", i, j)
		}
		for j := range per + 1 {
			modules[fmt.Sprintf("decoder.up.%d.block.%d", n-1-i, j)] = fmt.Sprintf("decoder.up_blocks.%d.resnets.%d", i, j)
		}
		modules[fmt.Sprintf("encoder.down.%d.downsample.conv", i)] = fmt.Sprintf("encoder.down_blocks.%d.downsamplers.0.conv", i)
		modules[fmt.Sprintf("decoder.up.%d.upsample.conv", n-1-i)] = fmt.Sprintf("decoder.up_blocks.%d.upsamplers.0.conv", i)
	}
	names, err := c.renamed(vaePrefix, modules, map[string]string{"nin_shortcut": "conv_shortcut"})
	if err != nil {
		return derived{}, err
	}
	down, up := make([]string, n), make([]string, n)
	for i := range n {
		down[i], up[i] = "DownEncoderBlock2D", "UpDecoderBlock2D"
	}
	return derived{names, map[string]any{
		"_class_name": "AutoencoderKL", "act_fn": "silu", "in_channels": c.dim(at("encoder.conv_in.weight"), 1),
		"out_channels": c.dim(at("decoder.conv_out.weight"), 0), "latent_channels": c.dim(at("post_quant_conv.weight"), 0),
		"block_out_channels": channels, "layers_per_block": per, "down_block_types": down, "up_block_types": up,
		"norm_num_groups": 32, "sample_size": 512, "scaling_factor": 0.18215,
	}}, nil
}

// text maps the text encoder. Some tools leave the prefix text_model out.
func (c checkpoint) text() (derived, error) {
	names := map[string]string{}
	inner := textPrefix
	if c.hasPrefix(textPrefix + "text_model.") {
		inner += "text_model."
	}
	for _, stored := range c.file.Names() {
		key, ok := strings.CutPrefix(stored, textPrefix)
		if to := textName(key); ok && to != "" {
			names[stored] = to
		}
	}
	layers := 0
	for c.has(fmt.Sprintf("%sencoder.layers.%d.layer_norm1.weight", inner, layers)) {
		layers++
	}
	tokens, positions := inner+"embeddings.token_embedding.weight", inner+"embeddings.position_embedding.weight"
	if !c.has(tokens) || !c.has(positions) || layers == 0 {
		return derived{}, fmt.Errorf("%s, %s or encoder.layers.0 is missing", tokens, positions)
	}
	return derived{names, map[string]any{
		"architectures": []string{"CLIPTextModel"}, "model_type": "clip_text_model", "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
		"hidden_size": c.dim(tokens, 1), "vocab_size": c.dim(tokens, 0), "max_position_embeddings": c.dim(positions, 0),
		"intermediate_size": c.dim(inner+"encoder.layers.0.mlp.fc1.weight", 0), "num_hidden_layers": layers,
		"num_attention_heads": 12, "projection_dim": 768, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
	}}, nil
}
