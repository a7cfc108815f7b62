package unet

import (
	"fmt"
	"strings"
)

// compVisMid names a module below mid_block.
func compVisMid(path string) string {
	var j int
	var rest string
	if rest, j = member(path, "attentions"); j == 0 && rest != "" {
		return "middle_block.1." + rest
	}
	if rest, j = member(path, "resnets"); j >= 0 {
		return fmt.Sprintf("middle_block.%d.%s", 2*j, compVisResnet(rest))
	}
	return ""
}

// compVisBlock names a module below down_blocks or up_blocks. CompVis numbers
// the layers of all blocks through; a block has one place for each of its
// layers and, on the way down, one for the downsampling.
func (c Config) compVisBlock(path string) string {
	down, i := member(path, "down_blocks")
	if i >= 0 {
		first := 1 + i*(c.LayersPerBlock+1)
		if rest, j := member(down, "attentions"); j >= 0 {
			return fmt.Sprintf("input_blocks.%d.1.%s", first+j, rest)
		}
		if rest, j := member(down, "resnets"); j >= 0 {
			return fmt.Sprintf("input_blocks.%d.0.%s", first+j, compVisResnet(rest))
		}
		if down == "downsamplers.0.conv" {
			return fmt.Sprintf("input_blocks.%d.0.op", first+c.LayersPerBlock)
		}
		return ""
	}
	up, i := member(path, "up_blocks")
	if i < 0 || i >= len(c.UpBlocks) {
		return ""
	}
	first := i * (c.LayersPerBlock + 1)
	if rest, j := member(up, "attentions"); j >= 0 {
		return fmt.Sprintf("output_blocks.%d.1.%s", first+j, rest)
	}
	if rest, j := member(up, "resnets"); j >= 0 {
		return fmt.Sprintf("output_blocks.%d.0.%s", first+j, compVisResnet(rest))
	}
	if up == "upsamplers.0.conv" {
		at := 1
		if c.UpBlocks[i] == crossUp {
			at = 2
		}
		return fmt.Sprintf("output_blocks.%d.%d.conv", first+c.LayersPerBlock, at)
	}
	return ""
}

// member splits "list.3.rest"; the index is -1 where path begins otherwise.
func member(path, list string) (rest string, index int) {
	tail, ok := strings.CutPrefix(path, list+".")
	if !ok {
		return "", -1
	}
	number, rest, _ := strings.Cut(tail, ".")
	if _, err := fmt.Sscanf(number, "%d", &index); err != nil || index < 0 {
		return "", -1
	}
	return rest, index
}

func compVisResnet(path string) string {
	switch path {
	case "conv1":
		return "in_layers.2"
	case "conv2":
		return "out_layers.3"
	case "time_emb_proj":
		return "emb_layers.1"
	case "conv_shortcut":
		return "skip_connection"
	}
	return path
}
