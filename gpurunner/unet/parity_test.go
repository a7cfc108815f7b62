package unet_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

func TestParity(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "unet", func(t *testing.T, c *paritytest.Case) {
			u, resources := load(t, pool, c.ModelDir(t))
			defer resources.Release()
			err := autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error {
				// With taps the layers run one by one; without they may be fused.
				if taps := c.Names("tap."); len(taps) > 0 {
					p.Tap = func(path string, x *tensor.Tensor) {
						if name := enginetest.TapName(path); c.Has(name) {
							c.CompareNHWC(t, name, x.Float32())
						}
					}
					if err := compare(t, p, u, c); err != nil {
						return err
					}
					p.Tap = nil
				}
				return compare(t, p, u, c)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

// TestKept: an evaluation that goes on with what another kept has the bits of one
// that computes all itself.
func TestKept(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		for _, root := range paritytest.Roots(t) {
			for _, c := range root.Cases(t, "unet") {
				t.Run(root.Name+"/"+c.Name(), func(t *testing.T) {
					u, resources := load(t, pool, c.ModelDir(t))
					defer resources.Release()
					var kept unet.Kept
					err := autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error {
						defer kept.Release()
						want, err := evaluate(t, p, u, c, nil)
						if err != nil {
							return err
						}
						for _, when := range []string{"first", "again"} {
							got, err := evaluate(t, p, u, c, &kept)
							if err != nil {
								return err
							}
							if !slices.Equal(got, want) {
								t.Errorf("%s: other numbers than without", when)
							}
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	})
}

func load(t *testing.T, pool *tensor.Pool, dir string) (*unet.UNet, *nn.Resources) {
	t.Helper()
	config, err := unet.ParseConfig(enginetest.Read(t, dir, "unet/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	l := nn.NewLoader(pool, enginetest.Open(t, dir+"/unet"))
	u := unet.Load(l, config)
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	return u, l.Resources()
}

func compare(t *testing.T, p *autodiff.Pass, u *unet.UNet, c *paritytest.Case) error {
	y, err := evaluate(t, p, u, c, nil)
	if err == nil {
		c.CompareNHWC(t, "out.sample", y)
	}
	return err
}

func evaluate(t *testing.T, p *autodiff.Pass, u *unet.UNet, c *paritytest.Case, kept *unet.Kept) ([]float32, error) {
	constant := func(name string) *autodiff.Value {
		x := c.Tensor(t, name).NHWC()
		return autodiff.Constant(p.Pool.FromFloat32(x.F32, x.Shape...))
	}
	sample, context := constant("in.sample"), constant("in.encoder_hidden_states")
	defer sample.Release()
	defer context.Release()
	in := unet.Condition{Context: context, Kept: kept}
	for _, ts := range c.Tensor(t, "in.timestep").I64 {
		in.Timesteps = append(in.Timesteps, float64(ts))
	}
	if c.Has("in.text_embeds") {
		in.Pooled = constant("in.text_embeds")
		defer in.Pooled.Release()
		ids := c.Tensor(t, "in.time_ids")
		for n := range ids.Shape[0] {
			var six [6]float64
			for i := range six {
				six[i] = float64(ids.F32[n*6+i])
			}
			in.TimeIDs = append(in.TimeIDs, six)
		}
	}
	y, err := u.Forward(p, sample, in)
	if err != nil {
		return nil, err
	}
	defer y.Release()
	return y.T.Float32(), nil
}

func TestParseConfig(t *testing.T) {
	good := `{"block_out_channels":[32,64],"down_block_types":["CrossAttnDownBlock2D","DownBlock2D"],"up_block_types":["UpBlock2D","CrossAttnUpBlock2D"],"attention_head_dim":8}`
	for _, tt := range []struct{ name, from, to, want string }{
		{"OK", "", "", ""},
		{"ErrNotJSON", "{", "[", "unet's config.json"},
		{"ErrBlocks", `"DownBlock2D"]`, `"AttnDownBlock2D"]`, `down block "AttnDownBlock2D" is not known`},
		{"ErrCount", `[32,64]`, `[32]`, "must be as many"},
		{"ErrGroups", `[32,64]`, `[32,65]`, "no multiple of norm_num_groups"},
		{"ErrHeads", `"attention_head_dim":8`, `"attention_head_dim":[8,7]`, "no multiple of its 7 heads"},
		{"ErrHeadsType", `"attention_head_dim":8`, `"attention_head_dim":"8"`, "want a number or a list"},
		{"ErrHeadsOne", `"attention_head_dim":8`, `"attention_head_dim":[8]`, "attention_head_dim is a list of 1 for 2 blocks"},
		{"ErrHeadsNone", `"attention_head_dim":8`, `"num_attention_heads":[]`, "num_attention_heads is a list of 0 for 2 blocks"},
		{"ErrHeadsZero", `"attention_head_dim":8`, `"attention_head_dim":0`, "attention_head_dim is 0; it must be from 1"},
		{"ErrDepthOne", `{"block`, `{"transformer_layers_per_block":[1],"block`, "transformer_layers_per_block is a list of 1"},
		{"OKNull", `"attention_head_dim":8`, `"attention_head_dim":null,"num_attention_heads":4`, ""},
		{"ErrAddEmbedding", `{"block`, `{"addition_embed_type":"image","block`, "is not known"},
		{"ErrOtherModel", `{"block`, `{"class_embed_type":"timestep","block`, "class_embed_type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := unet.ParseConfig([]byte(strings.Replace(good, tt.from, tt.to, 1)))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}
