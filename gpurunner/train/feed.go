package train

import (
	"context"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/vae"
)

// feeder makes the batches of training. The replay of recorded runs has one of
// its own.
type feeder interface {
	// batch makes the batch of a step; it is the caller's.
	batch(ctx context.Context, p Phase, step int) (*Batch, error)
}

// feed makes batches of a data set; every choice is a function of the seed and
// the step.
type feed struct {
	model   *diffusion.Model
	encoder *vae.Encoder
	words   *placeholders
	options Options
	src     source

	data, class *dataset.Set // class is nil without prior preservation
	order       *order
	classOrder  *order
	captions    captioner
	cache       map[view]*tensor.Tensor // moments of encoded pictures
}

// view is a picture as it is encoded, for the cache.
type view struct {
	set     *dataset.Set
	index   int
	flipped bool
	size    dataset.Size
}

func newFeed(m *diffusion.Model, words *placeholders, o Options, data, class *dataset.Set) (*feed, error) {
	encoder, err := m.Encoder()
	if err != nil {
		return nil, err
	}
	src := source{o.Seed}
	f := &feed{model: m, encoder: encoder, words: words, options: o, src: src, data: data, class: class,
		order: newOrder(src, data, o.TrainBatchSize), captions: newCaptioner(o), cache: map[view]*tensor.Tensor{}}
	factor := m.VAEConfig().Factor()
	for i := range data.Pictures {
		if s := data.Pictures[i].Size(); s.W%factor != 0 || s.H%factor != 0 {
			return nil, fmt.Errorf("resolution is %d; this base needs a multiple of %d", o.Resolution, factor)
		}
	}
	if class != nil {
		// Class pictures are drawn in an order of their own.
		f.classOrder = newOrder(source{o.Seed ^ uint64(streamClass)<<56}, class, o.TrainBatchSize)
		clear(f.classOrder.sizes) // they are brought to the size of the pictures that they accompany
	}
	return f, nil
}

// release gives back what is cached.
func (f *feed) release() {
	for _, t := range f.cache {
		t.Release()
	}
	f.cache = map[view]*tensor.Tensor{}
}

// sample is one picture of a batch and what is drawn for it.
type sample struct {
	set     *dataset.Set
	index   int
	prompt  string
	weight  float64
	look    dataset.View
	picture *dataset.Picture
	key     view
}

func (f *feed) batch(ctx context.Context, p Phase, step int) (*Batch, error) {
	samples, err := f.samples(p, step)
	if err != nil {
		return nil, err
	}
	return f.assemble(ctx, p, step, samples, f.timesteps(p, step, len(samples)))
}

// samples chooses the pictures of a step, their prompts and looks.
func (f *feed) samples(p Phase, step int) ([]sample, error) {
	var out []sample
	augment := dataset.Augment{Jitter: f.options.ColorJitter && !f.options.CachedLatents, Flip: f.options.HorizontalFlip}
	add := func(set *dataset.Set, index int, picture *dataset.Picture, weight float64, prompt func(*dataset.Picture, int) string) {
		j := len(out)
		s := sample{set: set, index: index, weight: weight, picture: picture}
		s.prompt = prompt(s.picture, j)
		s.look = s.picture.View(augment, f.src.at(p, streamFlip, step, j), f.src.at(p, streamJitter, step, j))
		s.key = view{set, index, s.look.Flipped, picture.Size()}
		out = append(out, s)
	}
	prior := f.class != nil && p == Tuning
	share := 1.0
	if prior {
		// The loss is the mean over both halves; each is to count as its own
		// mean (Ruiz et al. 2022, arXiv:2208.12242).
		share = 2
	}
	for _, i := range f.order.at(p, step) {
		add(f.data, i, &f.data.Pictures[i], share, func(pic *dataset.Picture, j int) string {
			return f.captions.prompt(pic, f.src.at(p, streamCaption, step, j).IntN)
		})
	}
	if prior {
		size := out[0].picture.Size()
		for _, i := range f.classOrder.at(p, step) {
			picture := &f.class.Pictures[i]
			if picture.Size() != size { // another bucket than this batch's
				fitted, err := picture.At(size)
				if err != nil {
					return nil, fmt.Errorf("class picture %s: %w", picture.Name, err)
				}
				picture = &fitted
			}
			add(f.class, i, picture, share*f.options.PriorLossWeight, func(*dataset.Picture, int) string { return f.options.ClassPrompt })
		}
	}
	return out, nil
}

// timesteps draws a step's timesteps: all of the noise levels in the inversion,
// the cleaner ones in the tuning.
func (f *feed) timesteps(p Phase, step, n int) []int {
	limit := f.model.Scheduler.TrainTimesteps
	if p == Tuning {
		limit = max(1, int(float64(limit)*f.options.TimestepLimit))
	}
	out := make([]int, n)
	for j := range out {
		out[j] = f.src.at(p, streamTimestep, step, j).IntN(limit)
	}
	return out
}

// assemble encodes prompts' ids and pictures, and draws the noise.
func (f *feed) assemble(ctx context.Context, p Phase, step int, samples []sample, timesteps []int) (b *Batch, err error) {
	b = &Batch{Timesteps: timesteps}
	var prompts []string
	for _, s := range samples {
		prompts = append(prompts, s.prompt)
		b.Weights = append(b.Weights, s.weight)
		if f.model.IsXL() {
			size, from := s.picture.Size(), s.picture.Original
			b.TimeIDs = append(b.TimeIDs, [6]float64{float64(from.H), float64(from.W), float64(s.picture.CropY), float64(s.picture.CropX), float64(size.H), float64(size.W)})
		}
	}
	b.Tokens = f.model.Tokenize(prompts, diffusion.Words{Tokenizers: f.words.tokenizers})
	err = autodiff.Run(ctx, f.model.Pool, func(pass *autodiff.Pass) error {
		var pictures []*imageops.Picture
		for _, s := range samples {
			pictures = append(pictures, s.look.Image)
		}
		moments, err := f.moments(pass, samples, pictures)
		if err != nil {
			return err
		}
		defer moments.Release()
		h, w, l := moments.Dim(1), moments.Dim(2), moments.Dim(3)/2
		posterior := f.normals(p, streamPosterior, step, len(samples), h, w, l)
		defer posterior.Release()
		b.Latents = f.model.Sample(pass, moments, posterior)
		b.Noise = f.noise(p, step, len(samples), h, w, l)
		f.mask(b, samples)
		if f.model.Inpaints() {
			return f.inpaint(pass, b, p, step, pictures)
		}
		return nil
	})
	if err != nil {
		return nil, err // Run has given the tensors back
	}
	return b, nil
}

// moments encodes the samples' pictures, [N,h,w,2L].
func (f *feed) moments(pass *autodiff.Pass, samples []sample, pictures []*imageops.Picture) (*tensor.Tensor, error) {
	if !f.options.CachedLatents {
		return f.encode(pass, pictures)
	}
	var parts []*tensor.Tensor
	for i, s := range samples {
		m := f.cache[s.key]
		if m == nil {
			var err error
			if m, err = f.encode(pass, pictures[i:i+1]); err != nil {
				return nil, err
			}
			f.cache[s.key] = m.Keep()
		}
		parts = append(parts, m)
	}
	return stack(f.model.Pool, parts), nil
}

// encode runs the autoencoder over pictures of one size.
func (f *feed) encode(pass *autodiff.Pass, pictures []*imageops.Picture) (*tensor.Tensor, error) {
	var values []float32
	for _, pic := range pictures {
		values = append(values, pic.Floats()...)
	}
	x := autodiff.Constant(f.model.Pool.FromFloat32(values, len(pictures), pictures[0].Height, pictures[0].Width, 3))
	defer x.Release()
	y, err := f.encoder.Encode(pass, x)
	if err != nil {
		return nil, err
	}
	return y.T, nil
}

// noise draws the noise that is to be found, with noise_offset's part that is
// constant over each channel of a picture.
func (f *feed) noise(p Phase, step, n, h, w, l int) *tensor.Tensor {
	if f.options.NoiseOffset == 0 {
		return f.normals(p, streamNoise, step, n, h, w, l)
	}
	var values []float32
	for j := range n {
		offset := f.src.at(p, streamOffset, step, j).Normals(l)
		for i, v := range f.src.at(p, streamNoise, step, j).Normals(h * w * l) {
			values = append(values, v+float32(float32(f.options.NoiseOffset)*offset[i%l]))
		}
	}
	return f.model.Pool.FromFloat32(values, n, h, w, l)
}

// normals draws standard normal numbers [N,h,w,L], each sample from an address
// of its own.
func (f *feed) normals(p Phase, what stream, step, n, h, w, l int) *tensor.Tensor {
	var values []float32
	for j := range n {
		values = append(values, f.src.at(p, what, step, j).Normals(h*w*l)...)
	}
	return f.model.Pool.FromFloat32(values, n, h, w, l)
}

// mask puts the pictures' masks into the batch, if any has one.
func (f *feed) mask(b *Batch, samples []sample) {
	var masks [][]uint8
	any := false
	for _, s := range samples {
		masks = append(masks, s.look.Mask)
		any = any || s.look.Mask != nil
	}
	if !any {
		return
	}
	size := samples[0].picture.Size()
	h, w := b.Latents.Dim(1), b.Latents.Dim(2)
	b.Mask = f.model.Pool.FromFloat32(latentMasks(masks, size.W, size.H, f.model.VAEConfig().Factor(), f.options.MaskTemperature, f.options.NormalizeMask), len(masks), h, w)
}

// stack joins tensors [1,…] to [N,…].
func stack(pool *tensor.Pool, parts []*tensor.Tensor) *tensor.Tensor {
	shape := append([]int(nil), parts[0].Shape...)
	shape[0] = len(parts)
	out := pool.New(parts[0].Data.Type, shape...)
	size := parts[0].Len()
	for i, p := range parts {
		pool.Device.Copy(out.Data.Slice(i*size, size), p.Data)
	}
	return out
}
