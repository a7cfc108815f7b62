package lora_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// model is a loaded UNet with its text encoders.
type model struct {
	pool      *tensor.Pool
	base      *lora.Base
	unet      *unet.UNet
	encoders  []*clip.Encoder
	sources   map[lora.Part]nn.Source
	resources []*nn.Resources
}

func configs(t testing.TB, dir string) (unet.Config, []clip.Config) {
	t.Helper()
	u, err := unet.ParseConfig(enginetest.Read(t, dir, "unet/config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var encoders []clip.Config
	for _, part := range []string{"text_encoder", "text_encoder_2"} {
		if _, err := os.Stat(filepath.Join(dir, part)); err != nil {
			continue
		}
		c, err := clip.ParseConfig(enginetest.Read(t, dir, part, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		encoders = append(encoders, c)
	}
	return u, encoders
}

// baseOf lists the layers of a model's folder.
func baseOf(t testing.TB, dir string) *lora.Base {
	t.Helper()
	u, encoders := configs(t, dir)
	return lora.NewBase(filepath.Base(dir), u, encoders...)
}

func load(t testing.TB, pool *tensor.Pool, dir string) *model {
	t.Helper()
	u, encoders := configs(t, dir)
	m := &model{pool: pool, base: baseOf(t, dir), sources: map[lora.Part]nn.Source{lora.UNet: enginetest.Open(t, dir+"/unet")}}
	l := nn.NewLoader(pool, m.sources[lora.UNet])
	m.unet = unet.Load(l, u)
	m.loaded(t, l)
	for i, c := range encoders {
		part := []lora.Part{lora.TextEncoder, lora.TextEncoder2}[i]
		m.sources[part] = enginetest.Open(t, filepath.Join(dir, string(part)))
		l := nn.NewLoader(pool, m.sources[part])
		m.encoders = append(m.encoders, clip.Load(l, c))
		m.loaded(t, l)
	}
	return m
}

func (m *model) loaded(t testing.TB, l *nn.Loader) {
	t.Helper()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	m.resources = append(m.resources, l.Resources())
}

func (m *model) release() {
	for _, r := range m.resources {
		r.Release()
	}
}

func (m *model) open(t testing.TB, path string) *lora.Set {
	t.Helper()
	set, err := lora.Open(path, m.base)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Unused) > 0 {
		t.Fatalf("%s: unused keys %q", path, set.Unused)
	}
	return set
}

// predict runs the UNet on the inputs of a case of the class unet.
func (m *model) predict(t testing.TB, p *autodiff.Pass, c *paritytest.Case) ([]float32, error) {
	t.Helper()
	constant := func(name string) *autodiff.Value {
		x := c.Tensor(t, name).NHWC()
		return autodiff.Constant(p.Pool.FromFloat32(x.F32, x.Shape...))
	}
	sample, context := constant("in.sample"), constant("in.encoder_hidden_states")
	defer sample.Release()
	defer context.Release()
	in := unet.Condition{Context: context}
	for _, ts := range c.Tensor(t, "in.timestep").I64 {
		in.Timesteps = append(in.Timesteps, float64(ts))
	}
	y, err := m.unet.Forward(p, sample, in)
	if err != nil {
		return nil, err
	}
	defer y.Release()
	return y.T.Float32(), nil
}

// encode runs the first text encoder on token ids [1,77] with the vocabulary's
// placeholders.
func (m *model) encode(p *autodiff.Pass, ids []int64, v *lora.Vocabulary) ([]float32, error) {
	prompt := make([]int32, len(ids))
	for i, id := range ids {
		prompt[i] = int32(id)
	}
	var extra *clip.Placeholders
	if v != nil && len(v.Names) > 0 {
		var flat []float32
		for _, row := range v.Rows[0] {
			flat = append(flat, row...)
		}
		table := autodiff.Constant(p.Pool.FromFloat32(flat, len(v.Names), len(v.Rows[0][0])))
		defer table.Release()
		extra = &clip.Placeholders{Table: table}
	}
	out, err := m.encoders[0].Encode(p, clip.Prompts{prompt}, extra, clip.Want{})
	if err != nil {
		return nil, err
	}
	defer out.Release()
	return out.Hidden.T.Float32(), nil
}

// sdDir is the folder of a tiny model of the embedded set.
func sdDir(t testing.TB, name string) string {
	t.Helper()
	return paritytest.Roots(t)[0].Path("models/" + name)
}

// learn leaves the gradients of the mean square of a prediction.
func (m *model) learn(t testing.TB, p *autodiff.Pass, c *paritytest.Case) error {
	t.Helper()
	constant := func(name string) *autodiff.Value {
		x := c.Tensor(t, name).NHWC()
		return autodiff.Constant(p.Pool.FromFloat32(x.F32, x.Shape...))
	}
	sample, context := constant("in.sample"), constant("in.encoder_hidden_states")
	defer sample.Release()
	defer context.Release()
	y, err := m.unet.Forward(p, sample, unet.Condition{Timesteps: []float64{float64(c.Tensor(t, "in.timestep").I64[0])}, Context: context})
	if err != nil {
		return err
	}
	defer y.Release()
	target := p.Pool.Zeros(y.T.Shape...)
	defer target.Release()
	loss := p.Loss(y, target, nil, nil)
	loss.Release()
	p.Backward()
	return nil
}
