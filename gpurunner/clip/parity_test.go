package clip_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

func TestParity(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "clip", func(t *testing.T, c *paritytest.Case) {
			dir := c.ModelDir(t) + "/text_encoder"
			if len(c.Base) > len(c.Model()) { // sdxl-tiny.text_encoder_2
				dir = c.ModelDir(t) + "/" + c.Base[len(c.Model())+1:]
			}
			config, err := clip.ParseConfig(enginetest.Read(t, dir, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			l := nn.NewLoader(pool, enginetest.Open(t, dir))
			e := clip.Load(l, config)
			if err := l.Err(); err != nil {
				t.Fatal(err)
			}
			resources := l.Resources()
			defer resources.Release()
			err = autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error { return compare(t, p, e, c) })
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

func compare(t *testing.T, p *autodiff.Pass, e *clip.Encoder, c *paritytest.Case) error {
	ids := c.Tensor(t, "input_ids")
	var prompts clip.Prompts
	for b := range ids.Shape[0] {
		prompt := make([]int32, ids.Shape[1])
		for i := range prompt {
			prompt[i] = int32(ids.I64[b*ids.Shape[1]+i])
		}
		prompts = append(prompts, prompt)
	}

	all, err := e.Encode(p, prompts, nil, clip.Want{Pooled: true})
	if err != nil {
		return err
	}
	defer all.Release()
	c.Compare(t, "all.last_hidden_state", all.Hidden.T.Float32())
	for _, name := range []string{"all.pooler_output", "all.text_embeds"} {
		if c.Has(name) {
			c.Compare(t, name, all.Pooled.T.Float32())
		}
	}

	p.Tap = func(path string, x *tensor.Tensor) {
		for _, name := range []string{enginetest.TapName(path), "out." + path} {
			if c.Has(name) {
				c.Compare(t, name, x.Float32())
			}
		}
	}
	one, err := e.Encode(p, prompts[:1], nil, clip.Want{Pooled: true})
	if err != nil {
		return err
	}
	defer one.Release()
	p.Tap = nil
	c.Compare(t, "out.last_hidden_state", one.Hidden.T.Float32())
	for _, name := range []string{"out.pooler_output", "out.text_embeds"} {
		if c.Has(name) {
			c.Compare(t, name, one.Pooled.T.Float32())
		}
	}
	// Leaving layers out gives the hidden state in front of them.
	for skip := 1; skip < e.Config.Layers; skip++ {
		name := fmt.Sprintf("out.hidden_states.%d", e.Config.Layers-skip)
		some, err := e.Encode(p, prompts[:1], nil, clip.Want{Skip: skip})
		if err != nil {
			return err
		}
		c.Compare(t, name, some.Hidden.T.Float32())
		some.Release()
	}
	return nil
}
