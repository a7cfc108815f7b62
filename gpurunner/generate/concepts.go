package generate

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// Concepts are LoRA sets mounted on a loaded model, and their words.
type Concepts struct {
	Words diffusion.Words

	vocabulary *lora.Vocabulary
	mounted    *lora.Mounted
}

// Mount puts concepts beside a model's weights, which stay as they are. Release
// takes them off again.
func Mount(m *diffusion.Model, mounts []lora.Mount) (*Concepts, error) {
	net, err := m.UNet()
	if err != nil {
		return nil, err
	}
	var encoders []*clip.Encoder
	for i := range m.Text {
		e, err := m.TextNetwork(i)
		if err != nil {
			return nil, err
		}
		encoders = append(encoders, e)
	}
	var sets []*lora.Set
	for _, mount := range mounts {
		sets = append(sets, mount.Set)
	}
	c := &Concepts{vocabulary: lora.Join(sets...)}
	if c.mounted, err = lora.Attach(m.Pool, net, encoders, mounts); err != nil {
		return nil, err
	}
	if err := m.Pool.Try(func() error { return c.addWords(m) }); err != nil {
		c.Release()
		return nil, err
	}
	return c, nil
}

// addWords gives each text encoder the concepts' tokens and their rows.
func (c *Concepts) addWords(m *diffusion.Model) error {
	if len(c.vocabulary.Names) == 0 {
		return nil
	}
	c.Words.Tokenizers = make([]*tokenizer.Tokenizer, len(m.Text))
	c.Words.Placeholders = make([]*autodiff.Value, len(m.Text))
	for i, t := range m.Text {
		words := t.Tokenizer.Clone()
		for j, name := range c.vocabulary.Names {
			id, err := words.AddToken(name)
			if err != nil {
				return err
			}
			if id != t.Config.VocabSize+j {
				return fmt.Errorf("the vocabulary of %s holds %d tokens, its table %d rows", t.Part, id-j, t.Config.VocabSize)
			}
		}
		var rows []float32
		for _, row := range c.vocabulary.Rows[i] {
			rows = append(rows, row...)
		}
		c.Words.Tokenizers[i] = words
		table := m.Pool.FromFloat32(rows, len(c.vocabulary.Names), t.Config.HiddenSize).Keep()
		c.Words.Placeholders[i] = autodiff.Constant(table)
	}
	return nil
}

// Expand writes a prompt's <1>, <2>, … as the concepts' tokens. dropped lists
// the numbers of files that have none.
func (c *Concepts) Expand(prompt string) (expanded string, dropped []int, err error) {
	return c.vocabulary.Expand(prompt)
}

// Release takes the concepts off the model. Releasing nil does nothing.
func (c *Concepts) Release() {
	if c == nil {
		return
	}
	c.mounted.Release()
	for _, v := range c.Words.Placeholders {
		v.Release()
	}
	c.Words = diffusion.Words{}
}

// Layers lists the layers of a model that concepts can sit on; name is for
// messages.
func Layers(name string, m *diffusion.Model) *lora.Base {
	var encoders []clip.Config
	for _, t := range m.Text {
		encoders = append(encoders, t.Config)
	}
	return lora.NewBase(name, m.UNetConfig(), encoders...)
}
