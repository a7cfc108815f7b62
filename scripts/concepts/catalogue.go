package main

import (
	"strings"

	"github.com/lowrank/lowrank/samples"
)

const (
	openMojiThanks = "After drawings by OpenMoji, CC BY-SA 4.0."
	fluentThanks   = "After Fluent Emoji by Microsoft, MIT."
)

// Captions come from the pictures' file names: the base then tells the thing from the manner.
var styleFlags = []string{"--use-template", "none", "--caption-pattern", "{} in the style of <s1>", "--placeholder-tokens", "<s1>"}

// guidance is where these concepts look their best: the base's own, 4.5, makes their colours too hard.
const guidance = 2

// drawn is how a concept is drawn with first.
func drawn(more map[string]any) map[string]any {
	input := map[string]any{"num_outputs": 4, "guidance_scale": guidance}
	for k, v := range more {
		input[k] = v
	}
	return input
}

// cell is one picture of a sheet: the prompt, and which of the six pictures of the concept's seed.
type cell struct {
	prompt string
	index  int
}

// styled are cells of things in the concept's style, written "penguin 2". The styles' own pictures show none of
// them.
func styled(things ...string) []cell {
	var cells []cell
	for _, t := range things {
		name, index, _ := strings.Cut(t, " ")
		cells = append(cells, cell{"a " + name + " in the style of <1>", int(index[0] - '0')})
	}
	return cells
}

var concepts = []concept{
	{
		Slug: "neon-sign", Name: "Neon sign", Task: "style", Base: "emoji-64", Scale: 0.6, seed: 11,
		About: "Things as neon signs: tubes of light before a dark wall.", Thanks: openMojiThanks,
		cells: styled("butterfly 1", "pizza 5", "cat 1", "bus 1", "mushroom 2", "frog 0", "castle 4", "dog 5"), Input: drawn(map[string]any{"prompt": "a butterfly in the style of <1>"}),
		train: styleFlags, pictures: sampled(samples.NeonSign),
	},
	{
		Slug: "lowie", Name: "Lowie", Task: "object", Base: "emoji-64", Scale: 1, seed: 12,
		About: "A one-eyed mascot, to put anywhere.", Thanks: "Drawn for this project, CC0.",
		cells: []cell{
			{"a picture of <1>", 0}, {"<1> on a pink background", 4}, {"a blue <1>", 0}, {"<1> on a yellow background", 4},
			{"<1> in the style of sepia", 5}, {"<1> in the style of gold", 5}, {"<1> on a white background", 0}, {"<1> in the style of sunset", 4},
		},
		Input: drawn(map[string]any{"prompt": "<1> on a pink background"}), pictures: sampled(samples.Lowie),
	},
	{
		Slug: "riso", Name: "Riso print", Task: "style", Base: "emoji-64", Scale: 0.6, seed: 13,
		About: "Two inks, coral and blue, a little out of register on cream paper.", Thanks: openMojiThanks,
		cells: styled("pizza 4", "cat 1", "mushroom 1", "bear 3", "bus 0", "frog 2", "rose 1", "butterfly 1"), Input: drawn(map[string]any{"prompt": "a mushroom in the style of <1>"}),
		train: styleFlags, pictures: fromOpenMoji(riso),
	},
	{
		Slug: "pastel", Name: "Pastel", Task: "style", Base: "emoji-64", Scale: 0.6, seed: 14,
		About: "Paled colours without lines, on navy.", Thanks: openMojiThanks,
		cells: styled("penguin 5", "cat 2", "frog 2", "bus 2", "mushroom 0", "castle 0", "banana 3", "snowman 0"), Input: drawn(map[string]any{"prompt": "a frog in the style of <1>"}),
		train: styleFlags, pictures: fromOpenMoji(pastel),
	},
	{
		Slug: "comic", Name: "Comic", Task: "style", Base: "emoji-64", Scale: 0.6, seed: 15,
		About: "Flat colours inside bold black lines, on sunny yellow.", Thanks: openMojiThanks,
		cells: styled("penguin 2", "pizza 0", "mushroom 3", "frog 0", "bus 3", "snowman 3", "castle 3", "whale 3"), Input: drawn(map[string]any{"prompt": "a bus in the style of <1>"}),
		train: styleFlags, pictures: fromOpenMoji(comic),
	},
	{
		Slug: "soft-3d", Name: "Soft 3D", Task: "style", Base: "emoji-64", Scale: 0.6, seed: 16,
		About: "Rounded, softly lit figures on lavender.", Thanks: fluentThanks,
		cells: styled("penguin 3", "pizza 1", "bus 0", "mushroom 3", "frog 0", "rose 3", "snowman 3", "whale 0"), Input: drawn(map[string]any{"prompt": "a frog in the style of <1>"}),
		train: styleFlags, pictures: fromFluent,
	},
}

// things are what the styles are trained on: their names as the base knows them, and their code points.
var things = []struct{ name, code string }{
	{"automobile", "1F697"}, {"bicycle", "1F6B2"}, {"birthday cake", "1F382"}, {"cactus", "1F335"}, {"crown", "1F451"}, {"elephant", "1F418"},
	{"fish", "1F41F"}, {"fox", "1F98A"}, {"guitar", "1F3B8"}, {"helicopter", "1F681"}, {"hot beverage", "2615"}, {"house", "1F3E0"},
	{"koala", "1F428"}, {"lion", "1F981"}, {"owl", "1F989"}, {"palm tree", "1F334"}, {"snail", "1F40C"}, {"rocket", "1F680"},
	{"sailboat", "26F5"}, {"sauropod", "1F995"}, {"strawberry", "1F353"}, {"sunflower", "1F33B"}, {"turtle", "1F422"}, {"unicorn", "1F984"},
}
