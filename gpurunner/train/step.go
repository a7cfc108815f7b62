package train

import (
	"context"
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Batch is what one step sees. Its tensors stay the caller's.
type Batch struct {
	Tokens    diffusion.Tokens
	Latents   *tensor.Tensor // [N,h,w,L], clean, scaled
	Noise     *tensor.Tensor // [N,h,w,L]
	Timesteps []int
	// Mask multiplies prediction and target, [N,h,w]; nil for none.
	Mask *tensor.Tensor
	// Weights multiply the samples' losses; nil for 1.
	Weights []float64
	// Inpaint is mask and masked latents, [N,h,w,1+L], for bases that inpaint.
	Inpaint *tensor.Tensor
	TimeIDs [][6]float64 // SDXL
}

// Release gives up all tensors.
func (b *Batch) Release() {
	for _, t := range []*tensor.Tensor{b.Latents, b.Noise, b.Mask, b.Inpaint} {
		t.Release()
	}
}

// Step computes the loss of a denoiser and its gradients: a sample is noised to
// its timestep, and the network is asked for the noise, or the velocity, that was
// put in (Ho et al. 2020; Salimans and Ho 2022 for v).
type Step struct {
	Model    *diffusion.Model
	UNet     *unet.UNet
	Schedule *sampler.Schedule
	Velocity bool // the base predicts v
	Words    diffusion.Words
	// MinSNR weighs timesteps by min(snr, MinSNR)/snr, over snr+1 for v
	// (Hang et al. 2023, arXiv:2303.09556); 0 is off.
	MinSNR     float64
	Checkpoint bool // compute activations again in backward

	// Seen, if not nil, sees what goes into the network and what comes out,
	// [N,h,w,C] each.
	Seen func(input, prediction *tensor.Tensor)
}

// Run computes each sample's loss: the mean over its elements of the squared,
// masked difference, times its weights. Gradients of share times the mean over
// the samples are added to those of the parameters; share 0 computes none.
func (s *Step) Run(ctx context.Context, b *Batch, share float64) ([]float64, error) {
	var losses []float64
	f := func(p *autodiff.Pass) error {
		l, err := s.run(p, b, share)
		losses = l
		return err
	}
	if share == 0 {
		return losses, autodiff.Run(ctx, s.Model.Pool, f)
	}
	err := autodiff.Record(ctx, s.Model.Pool, autodiff.Options{Checkpoint: s.Checkpoint}, f)
	return losses, err
}

func (s *Step) run(p *autodiff.Pass, b *Batch, share float64) ([]float64, error) {
	n := len(b.Timesteps)
	input, target := s.noised(p, b)
	defer input.Release()
	defer target.Release()

	encoded, err := s.Model.Encode(p, b.Tokens, s.Words)
	if err != nil {
		return nil, err
	}
	defer encoded.Release()
	c := unet.Condition{Context: encoded.Context, Pooled: encoded.Pooled, TimeIDs: b.TimeIDs}
	for _, t := range b.Timesteps {
		c.Timesteps = append(c.Timesteps, float64(t))
	}
	pred, err := s.UNet.Forward(p, input, c)
	if err != nil {
		return nil, err
	}
	defer pred.Release()
	if s.Seen != nil {
		s.Seen(input.T, pred.T)
	}

	scale := share
	if share == 0 {
		scale = 1
	}
	weights := make([]float32, n)
	for i, t := range b.Timesteps {
		w := s.timestepWeight(t)
		if b.Weights != nil {
			w *= b.Weights[i]
		}
		weights[i] = float32(scale * w)
	}
	weight := p.Pool.FromFloat32(weights, n)
	defer weight.Release()
	loss := p.Loss(pred, target, b.Mask, weight)
	defer loss.Release()
	if share != 0 {
		p.Backward()
	}
	losses := make([]float64, n)
	for i, l := range loss.Float32() {
		losses[i] = float64(l) * float64(n) / scale
	}
	return losses, nil
}

// timestepWeight is min-SNR's weight.
func (s *Step) timestepWeight(t int) float64 {
	if s.MinSNR == 0 {
		return 1
	}
	snr := s.Schedule.SNR(t)
	switch {
	case s.Velocity:
		return math.Min(snr, s.MinSNR) / (snr + 1)
	case snr <= s.MinSNR: // also where the last timestep is noise alone
		return 1
	}
	return s.MinSNR / snr
}

// noised returns what goes into the network and what should come out.
func (s *Step) noised(p *autodiff.Pass, b *Batch) (input *autodiff.Value, target *tensor.Tensor) {
	dev, shape := p.Device(), b.Latents.Shape
	n, size := shape[0], b.Latents.Len()/shape[0]
	combine := func(dst *tensor.Tensor, weights func(t int) (clean, noise float64)) {
		for i, t := range b.Timesteps {
			clean, noise := weights(t)
			coef := p.Pool.FromFloat32([]float32{float32(clean), float32(noise)}, 2)
			dev.Combine(dst.Data.Slice(i*size, size), coef.Data, b.Latents.Data.Slice(i*size, size), b.Noise.Data.Slice(i*size, size))
			coef.Release()
		}
	}
	noisy := p.Pool.New(device.F32, shape...)
	combine(noisy, s.Schedule.AddNoise)
	if s.Velocity {
		target = p.Pool.New(device.F32, shape...)
		combine(target, s.Schedule.Velocity)
	} else {
		target = b.Noise.Retain()
	}
	if b.Inpaint == nil {
		return autodiff.Constant(noisy), target
	}
	l, extra := shape[3], b.Inpaint.Dim(-1)
	joined := p.Pool.New(device.F32, n, shape[1], shape[2], l+extra)
	m := joined.Matrix()
	dev.CopyRows(m.Columns(0, l), noisy.Matrix(), 0)
	dev.CopyRows(m.Columns(l, extra), b.Inpaint.Matrix(), 0)
	noisy.Release()
	return autodiff.Constant(joined), target
}

// mean is the mean of a step's losses, or an error that says what to do where
// it is no number.
func mean(losses []float64, at Phase, step int) (float64, error) {
	sum := 0.0
	for _, l := range losses {
		sum += l
	}
	loss := sum / float64(len(losses))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, &DivergedError{Phase: at, Step: step, Loss: loss}
	}
	return loss, nil
}

// DivergedError says that training left the numbers.
type DivergedError struct {
	Phase Phase
	Step  int // counted from 0
	Loss  float64
}

func (e *DivergedError) Error() string {
	rate, suffix := "learning_rate_ti", ""
	if e.Phase == Tuning {
		rate, suffix = "learning_rate_unet and learning_rate_text", "_lora"
	}
	return fmt.Sprintf("the loss became %v at step %d of the %s, so training stopped: try a smaller %s (a tenth), and a warm-up (lr_scheduler%s %s with lr_warmup_steps%s)",
		e.Loss, e.Step+1, e.Phase, rate, suffix, ScheduleConstantWithWarmup, suffix)
}
