package unet

import (
	"strings"

	"github.com/lowrank/lowrank/gpurunner/nn"
)

// Outline returns the network of a configuration without weights, for its
// Modules.
func Outline(c Config) *UNet { return Load(nn.Outline(), c) }

// Modules lists every linear layer and convolution in the order in which
// diffusers up to 0.14 registered them: down_blocks, up_blocks, then mid_block; in
// a block the attentions before the resnets; in a transformer block attn1, ff,
// attn2. Adapter files that number their entries mean this order.
func (u *UNet) Modules() []nn.Module {
	w := walk{pointwise: !u.Config.LinearProjection}
	w.conv("", u.convIn)
	for _, e := range []*embedding{u.time, u.add} {
		if e != nil {
			w.linear("", e.linear1, e.linear2)
		}
	}
	for _, b := range u.Down {
		w.block(b.Attentions, b.Resnets)
		w.conv("", b.Downsample)
	}
	for _, b := range u.Up {
		w.block(b.Attentions, b.Resnets)
		w.conv("", b.Upsample)
	}
	w.block([]*Transformer{u.Mid.Attention}, u.Mid.Resnets[:])
	w.conv("", u.convOut)
	return w.list
}

type walk struct {
	list      []nn.Module
	pointwise bool
}

func (w *walk) linear(class string, layers ...*nn.Linear) {
	for _, l := range layers {
		w.list = append(w.list, nn.Module{Path: l.Path, Class: class, Linear: l})
	}
}

func (w *walk) conv(class string, layers ...*nn.Conv) {
	for _, c := range layers {
		if c != nil {
			w.list = append(w.list, nn.Module{Path: c.Path, Class: class, Conv: c})
		}
	}
}

func (w *walk) projection(l *nn.Linear) {
	w.list = append(w.list, nn.Module{Path: l.Path, Linear: l, Pointwise: w.pointwise})
}

func (w *walk) block(attentions []*Transformer, resnets []*Resnet) {
	for _, t := range attentions {
		w.projection(t.ProjIn)
		for _, b := range t.Blocks {
			w.attention(b.Attn1)
			w.linear("GEGLU", b.FF0)
			w.linear("", b.FF2)
			w.attention(b.Attn2)
		}
		w.projection(t.ProjOut)
	}
	for _, r := range resnets {
		const class = "ResnetBlock2D"
		w.conv(class, r.Conv1)
		w.linear(class, r.TimeProj)
		w.conv(class, r.Conv2, r.Shortcut)
	}
}

func (w *walk) attention(a *Attention) { w.linear("CrossAttention", a.Q, a.K, a.V, a.Out) }

// CompVis returns the name that the original code of Stable Diffusion gives a
// module of c: "input_blocks.1.1.proj_in" for
// "down_blocks.0.attentions.0.proj_in". It is empty for a path that is no
// module's.
func (c Config) CompVis(path string) string {
	for _, p := range [][2]string{
		{"conv_in", "input_blocks.0.0"}, {"conv_out", "out.2"},
		{"time_embedding.linear_1", "time_embed.0"}, {"time_embedding.linear_2", "time_embed.2"},
		{"add_embedding.linear_1", "label_emb.0.0"}, {"add_embedding.linear_2", "label_emb.0.2"},
	} {
		if path == p[0] {
			return p[1]
		}
	}
	if rest, ok := strings.CutPrefix(path, "mid_block."); ok {
		return compVisMid(rest)
	}
	return c.compVisBlock(path)
}
