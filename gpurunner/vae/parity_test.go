package vae_test

import (
	"context"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/vae"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

func TestParity(t *testing.T) {
	enginetest.Each(t, func(t *testing.T, pool *tensor.Pool) {
		paritytest.Each(t, "vae", func(t *testing.T, c *paritytest.Case) {
			config, err := vae.ParseConfig(enginetest.Read(t, c.ModelDir(t), "vae/config.json"))
			if err != nil {
				t.Fatal(err)
			}
			l := nn.NewLoader(pool, nn.FromTensors(enginetest.Weights(t, c.ModelDir(t), "vae")))
			encoder, decoder := vae.LoadEncoder(l, config), vae.LoadDecoder(l, config)
			if err := l.Err(); err != nil {
				t.Fatal(err)
			}
			resources := l.Resources()
			defer resources.Release()
			err = autodiff.Run(context.Background(), pool, func(p *autodiff.Pass) error {
				if len(c.Names("tap.")) > 0 {
					p.Tap = func(path string, x *tensor.Tensor) {
						if name := enginetest.TapName(path); c.Has(name) {
							c.CompareNHWC(t, name, x.Float32())
						}
					}
					if err := compare(t, p, encoder, decoder, c); err != nil {
						return err
					}
					p.Tap = nil
				}
				return compare(t, p, encoder, decoder, c)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	})
}

func compare(t *testing.T, p *autodiff.Pass, encoder *vae.Encoder, decoder *vae.Decoder, c *paritytest.Case) error {
	constant := func(name string) *autodiff.Value {
		x := c.Tensor(t, name).NHWC()
		return autodiff.Constant(p.Pool.FromFloat32(x.F32, x.Shape...))
	}
	pixels := constant("in.pixels")
	defer pixels.Release()
	moments, err := encoder.Encode(p, pixels)
	if err != nil {
		return err
	}
	defer moments.Release()
	latents := encoder.Config.LatentChannels
	var mean, logvar []float32
	for i, v := range moments.T.Float32() {
		if i%(2*latents) < latents {
			mean = append(mean, v)
		} else {
			logvar = append(logvar, v)
		}
	}
	c.CompareNHWC(t, "out.mean", mean)
	c.CompareNHWC(t, "out.logvar", logvar)

	z := constant("in.latents")
	defer z.Release()
	image, err := decoder.Decode(p, z)
	if err != nil {
		return err
	}
	defer image.Release()
	c.CompareNHWC(t, "out.image", image.T.Float32())
	return nil
}
