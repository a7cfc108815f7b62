package main

import (
	"context"
	"math"
	"time"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// step is a tuning step of ours: adapters on UNet and text encoder, the
// original's targets, no dropout, latents given.
type step struct {
	dev   *cpu.Device
	base  *base.Base
	model *diffusion.Model
	loras []*lora.Trainable
	slab  *nn.Slab
	m, v  *tensor.Tensor // AdamW's moments
	done  int            // updates
	step  train.Step
	batch train.Batch
}

// The optimiser's numbers, also the peer's.
const (
	learningRate = 1e-4
	weightDecay  = 1e-3
	beta1        = 0.9
	beta2        = 0.999
	epsilon      = 1e-8
	maxNorm      = 1
)

// The scales of what the numbers fill, which keep activations in range.
const (
	factorScale = 0.05
	inputScale  = 4
)

// openStep opens a base for a step with adapters of a rank; height and width
// are the latents'.
func openStep(folder string, height, width, batch, rank int, precision device.DType, threads int) (_ *step, err error) {
	s := &step{}
	if s.dev, err = cpu.New(cpu.Options{Threads: threads, Precision: precision}); err != nil {
		return nil, err
	}
	if s.base, err = base.Open(folder, base.Options{}); err != nil {
		return nil, err
	}
	pool := tensor.NewPool(s.dev)
	if s.model, err = diffusion.Open(pool, s.base); err != nil {
		return nil, err
	}
	schedule, err := sampler.NewSchedule(s.model.Scheduler)
	if err != nil {
		return nil, err
	}
	net, err := s.model.UNet()
	if err != nil {
		return nil, err
	}
	s.step = train.Step{Model: s.model, UNet: net, Schedule: schedule}
	encoder, err := s.model.TextNetwork(0)
	if err != nil {
		return nil, err
	}
	b, layer := &nn.SlabBuilder{}, 0
	options := lora.TrainOptions{Base: generate.Layers(folder, s.model), Rank: rank, Init: func(_ int, _ *lora.Module, down []float32) {
		copy(down, scaled(len(down), factorSeed(layer, 1), factorScale))
		layer++
	}}
	unets, err := lora.NewTrainable(pool, b, net, nil, options)
	if err != nil {
		return nil, err
	}
	texts, err := lora.NewTrainable(pool, b, nil, []*clip.Encoder{encoder}, options)
	if err != nil {
		return nil, err
	}
	s.loras = []*lora.Trainable{unets, texts}
	s.slab = b.Build(pool)
	for i, p := range s.slab.Params { // up, then down of each layer
		if i%2 == 0 { // zero in real life, which would leave down without gradients
			p.V.T.SetFloat32(scaled(p.Len, factorSeed(i/2, 0), factorScale))
		}
	}
	s.m, s.v = pool.Zeros(s.slab.Value.Len()).Keep(), pool.Zeros(s.slab.Value.Len()).Keep()
	c := s.model.UNetConfig().InChannels
	s.batch = train.Batch{
		Latents: pool.FromFloat32(scaled(batch*height*width*c, 1, inputScale), batch, height, width, c).Keep(),
		Noise:   pool.FromFloat32(scaled(batch*height*width*c, 2, inputScale), batch, height, width, c).Keep(),
	}
	ids, timesteps := prompts(s.model, batch)
	s.batch.Tokens, s.batch.Timesteps = diffusion.Tokens{ids}, timesteps
	return s, nil
}

func factorSeed(layer, factor int) uint32 { return uint32(1000*layer + 500*factor) }

func scaled(n int, seed uint32, scale float32) []float32 {
	v := numbers(n, seed)
	for i := range v {
		v[i] *= scale
	}
	return v
}

// describe is what the peer needs to make the same step; it reads no weights.
func describe(folder string, t tuningRow) (map[string]any, error) {
	b, err := base.Open(folder, base.Options{})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	model, err := diffusion.Open(tensor.NewPool(dev), b)
	if err != nil {
		return nil, err
	}
	layers := generate.Layers(folder, model)
	var names []string
	for _, part := range []lora.Part{lora.UNet, lora.TextEncoder} {
		for _, m := range layers.Targets(part, lora.DefaultTargets) {
			names = append(names, m.String())
		}
	}
	ids, timesteps := prompts(model, t.batch)
	return map[string]any{"folder": folder, "height": t.height, "width": t.width, "batch": t.batch, "rank": t.rank, "layers": names, "ids": ids,
		"timesteps": timesteps, "factor_scale": factorScale, "input_scale": inputScale, "learning_rate": learningRate, "weight_decay": weightDecay}, nil
}

// prompts are ids and timesteps of a batch.
func prompts(model *diffusion.Model, batch int) (prompts clip.Prompts, timesteps []int) {
	config := model.Text[0].Config
	for i := range batch {
		timesteps = append(timesteps, 100+150*i)
		ids := make([]int32, config.Positions)
		for j := range ids {
			ids[j] = int32((j*j*7 + 31*i + 5) % config.VocabSize)
		}
		prompts = append(prompts, ids)
	}
	return prompts, timesteps
}

// run takes so many steps; Seconds are those of one.
func (s *step) run(times int) (stepAnswer, error) {
	var losses []float64
	var err error
	begin := time.Now()
	for range times {
		s.slab.ZeroGrad()
		if losses, err = s.step.Run(context.Background(), &s.batch, 1); err != nil {
			return stepAnswer{}, err
		}
		s.update()
	}
	if err := s.dev.Sync(); err != nil {
		return stepAnswer{}, err
	}
	a := stepAnswer{Seconds: time.Since(begin).Seconds() / float64(times), Picks: picks(s.slab.Grad.Float32())}
	for _, l := range losses {
		a.Loss += l / float64(len(losses))
	}
	return a, nil
}

// update clips and steps as the trainer does.
func (s *step) update() {
	s.done++
	pool := s.slab.Value.Pool()
	sum := pool.Zeros(1)
	defer sum.Release()
	pool.Device.SumSquares(sum.Data, s.slab.Grad.Data, 0)
	clip := pool.FromFloat32([]float32{float32(math.Min(1, maxNorm/(math.Sqrt(float64(sum.Float32()[0]))+1e-6)))}, 1)
	defer clip.Release()
	hyper := pool.FromFloat32([]float32{learningRate, beta1, beta2, epsilon, weightDecay,
		float32(1 - math.Pow(beta1, float64(s.done))), float32(1 - math.Pow(beta2, float64(s.done)))}, 7)
	defer hyper.Release()
	pool.Device.AdamW(device.Slab{Value: s.slab.Value.Data, Grad: s.slab.Grad.Data, M: s.m.Data, V: s.v.Data},
		[]device.AdamWSegment{{Len: s.slab.Value.Len(), Hyper: hyper.Data}}, clip.Data)
	s.slab.Repack()
}

func (s *step) close() {
	s.dev.Close()
	s.base.Close()
}
