package diffusion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
	"github.com/lowrank/lowrank/gpurunner/unet"
	"github.com/lowrank/lowrank/gpurunner/vae"
)

// Files are a base model's parts as they are stored, under diffusers' names.
type Files interface {
	// Config returns a JSON file: "unet/config.json". Its error says which
	// file is missing, and wraps fs.ErrNotExist then, or unreadable.
	Config(path string) ([]byte, error)
	// Has reports whether a part is there: "text_encoder_2".
	Has(part string) bool
	// Weights opens the weights of a part: "unet", "vae", "text_encoder".
	Weights(part string) (nn.Tensors, error)
	// Tokenizer reads "tokenizer" or "tokenizer_2".
	Tokenizer(part string) (*tokenizer.Tokenizer, error)
}

// Model is a base model on a device. It is used by one goroutine.
type Model struct {
	Pool      *tensor.Pool
	Scheduler sampler.Config
	// Text are the text encoders: one, or SDXL's two.
	Text []*TextEncoder

	ctx        context.Context
	files      Files
	unetConfig unet.Config
	vaeConfig  vae.Config
	pipeline   pipeline

	unet    network[*unet.UNet]
	encoder network[*vae.Encoder]
	decoder network[*vae.Decoder]
}

// TextEncoder is a tokenizer and, once loaded, its network.
type TextEncoder struct {
	Part      string // "text_encoder" or "text_encoder_2"
	Config    clip.Config
	Tokenizer *tokenizer.Tokenizer

	net network[*clip.Encoder]
}

// pipeline is what model_index.json says beside the parts' names.
type pipeline struct {
	// ZeroNegative of SDXL: an absent negative prompt is encoded as zeros.
	ZeroNegative bool `json:"force_zeros_for_empty_prompt"`
}

// network is a part that loads when first used.
type network[T any] struct {
	loaded    bool
	net       T
	resources *nn.Resources
}

// Open reads configurations and tokenizers, and no weights.
func Open(pool *tensor.Pool, files Files) (*Model, error) {
	m := &Model{Pool: pool, ctx: context.Background(), files: files}
	raw, err := files.Config("unet/config.json")
	if err != nil {
		return nil, err
	}
	if m.unetConfig, err = unet.ParseConfig(raw); err != nil {
		return nil, err
	}
	if raw, err = files.Config("vae/config.json"); err != nil {
		return nil, err
	}
	if m.vaeConfig, err = vae.ParseConfig(raw); err != nil {
		return nil, err
	}
	if raw, err = files.Config("scheduler/scheduler_config.json"); err != nil {
		return nil, err
	}
	if m.Scheduler, err = sampler.ParseConfig(raw); err != nil {
		return nil, err
	}
	m.pipeline.ZeroNegative = true // as diffusers' pipeline has it
	switch raw, err = files.Config("model_index.json"); {
	case errors.Is(err, fs.ErrNotExist): // parts that were put together by hand
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(raw, &m.pipeline); err != nil {
			return nil, fmt.Errorf("model_index.json: %w", err)
		}
	}
	for i, part := range []string{"text_encoder", "text_encoder_2"} {
		if i > 0 && !files.Has(part) {
			break
		}
		t, err := openText(files, part)
		if err != nil {
			return nil, err
		}
		m.Text = append(m.Text, t)
	}
	return m, m.check()
}

func openText(files Files, part string) (*TextEncoder, error) {
	raw, err := files.Config(part + "/config.json")
	if err != nil {
		return nil, err
	}
	t := &TextEncoder{Part: part}
	if t.Config, err = clip.ParseConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", part, err)
	}
	name := "tokenizer"
	if part == "text_encoder_2" {
		name = "tokenizer_2"
	}
	if t.Tokenizer, err = files.Tokenizer(name); err != nil {
		return nil, err
	}
	return t, nil
}

// check holds the parts against each other.
func (m *Model) check() error {
	width := 0
	for _, t := range m.Text {
		width += t.Config.HiddenSize
		if n := t.Tokenizer.Len(); n > t.Config.VocabSize {
			return fmt.Errorf("%s: the tokenizer has %d tokens, the text encoder %d", t.Part, n, t.Config.VocabSize)
		}
	}
	if width != m.unetConfig.CrossAttention {
		return fmt.Errorf("the text encoder gives %d channels, the unet's cross_attention_dim is %d", width, m.unetConfig.CrossAttention)
	}
	if n, l := m.unetConfig.InChannels, m.vaeConfig.LatentChannels; n != l && n != 2*l+1 {
		return fmt.Errorf("the unet has %d input channels for %d latent channels; want %d, or %d for inpainting", n, l, l, 2*l+1)
	}
	if (m.unetConfig.AddEmbedding != "") != (len(m.Text) == 2) {
		return fmt.Errorf("the unet and the number of text encoders (%d) do not belong together", len(m.Text))
	}
	return nil
}

// Bind makes ctx the one whose end breaks off the loading of a network, which
// takes seconds for large models. It returns the one before.
func (m *Model) Bind(ctx context.Context) (was context.Context) {
	was, m.ctx = m.ctx, ctx
	return was
}

// UNetConfig returns the denoiser's configuration.
func (m *Model) UNetConfig() unet.Config { return m.unetConfig }

// VAEConfig returns the autoencoder's configuration.
func (m *Model) VAEConfig() vae.Config { return m.vaeConfig }

// Inpaints reports whether the denoiser takes a mask and a masked picture.
func (m *Model) Inpaints() bool { return m.unetConfig.InChannels != m.vaeConfig.LatentChannels }

// ZeroNegative reports whether guidance without a negative prompt starts from
// zeros in place of the empty prompt's encoding.
func (m *Model) ZeroNegative() bool { return m.IsXL() && m.pipeline.ZeroNegative }

// IsXL reports whether the model is an SDXL.
func (m *Model) IsXL() bool { return len(m.Text) == 2 }

// UNet returns the denoiser.
func (m *Model) UNet() (*unet.UNet, error) {
	return load(m, &m.unet, "unet", func(l *nn.Loader) *unet.UNet { return unet.Load(l, m.unetConfig) })
}

// Trained says which weights of a network are parameters.
type Trained struct {
	Slab  *nn.SlabBuilder
	Match func(name string) bool
}

// TrainUNet returns a denoiser of its own in which the weights that match are
// parameters of a slab, usable once that is built; release gives it back.
func (m *Model) TrainUNet(t Trained) (u *unet.UNet, release func(), err error) {
	var n network[*unet.UNet]
	u, err = load(m, &n, "unet", func(l *nn.Loader) *unet.UNet {
		return unet.Load(l.Train(t.Slab, t.Match), m.unetConfig)
	})
	return u, n.release, err
}

// StoredShape returns a lookup of the shapes that a part's weights have in the
// model's files: a convolution of 1×1 computes as a matrix, and is not kept as
// one.
func (m *Model) StoredShape(part string) (func(name string) []int, error) {
	weights, err := m.files.Weights(part)
	if err != nil {
		return nil, err
	}
	return func(name string) []int {
		t, _ := weights.Lookup(name)
		return t.Shape
	}, nil
}

// Encoder returns the half of the autoencoder that reads pictures.
func (m *Model) Encoder() (*vae.Encoder, error) {
	return load(m, &m.encoder, "vae", func(l *nn.Loader) *vae.Encoder { return vae.LoadEncoder(l, m.vaeConfig) })
}

// Decoder returns the half of the autoencoder that makes pictures.
func (m *Model) Decoder() (*vae.Decoder, error) {
	return load(m, &m.decoder, "vae", func(l *nn.Loader) *vae.Decoder { return vae.LoadDecoder(l, m.vaeConfig) })
}

// TextNetwork returns text encoder i.
func (m *Model) TextNetwork(i int) (*clip.Encoder, error) {
	t := m.Text[i]
	return load(m, &t.net, t.Part, func(l *nn.Loader) *clip.Encoder { return clip.Load(l, t.Config) })
}

// TooLargeError says that a network's weights do not fit into the device's memory.
type TooLargeError struct {
	Part string // "unet"
	Err  error
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the base model's %s does not fit into the device's memory: use a smaller base model, or a device with more memory (%v)", e.Part, e.Err)
}

// Unwrap returns the device's error.
func (e *TooLargeError) Unwrap() error { return e.Err }

func load[T any](m *Model, n *network[T], part string, build func(l *nn.Loader) T) (T, error) {
	if n.loaded {
		return n.net, nil
	}
	var none T
	weights, err := m.files.Weights(part)
	if err != nil {
		return none, err
	}
	l := nn.NewLoader(m.Pool, nn.FromTensors(weights)).Until(m.ctx)
	var net T
	err = m.Pool.Try(func() error {
		net = build(l)
		return l.Err()
	})
	if err != nil {
		l.Resources().Release()
		if m.ctx.Err() != nil {
			return none, err
		}
		if errors.Is(err, device.ErrOutOfMemory) {
			return none, &TooLargeError{Part: part, Err: err}
		}
		if w, ok := weights.(interface{ Path() string }); ok {
			return none, fmt.Errorf("%s: %w", w.Path(), err)
		}
		return none, fmt.Errorf("%s: %w", part, err)
	}
	n.net, n.resources, n.loaded = net, l.Resources(), true
	return net, nil
}

// Release gives back what the networks hold on the device. They load again
// when asked for.
func (m *Model) Release() {
	m.ReleaseText()
	m.ReleaseUNet()
	m.ReleaseEncoder()
	m.ReleaseDecoder()
}

// ReleaseText gives back the text encoders.
func (m *Model) ReleaseText() {
	for _, t := range m.Text {
		t.net.release()
	}
}

// ReleaseUNet gives back the denoiser.
func (m *Model) ReleaseUNet() { m.unet.release() }

// ReleaseEncoder gives back the autoencoder's encoder.
func (m *Model) ReleaseEncoder() { m.encoder.release() }

// ReleaseDecoder gives back the autoencoder's decoder.
func (m *Model) ReleaseDecoder() { m.decoder.release() }

func (n *network[T]) release() {
	if n.loaded {
		n.resources.Release()
		*n = network[T]{}
	}
}
