package train

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// tuning trains the adapters, or the UNet itself, one update a step, gradients
// clipped to a norm.
func (r *run) tuning(ctx context.Context) (*Result, error) {
	if r.phase == Inversion {
		r.phase, r.done = Tuning, 0
	}
	t, err := r.trainables()
	if err != nil {
		return nil, err
	}
	defer t.release()
	r.opt = newOptimizer(t.slab, t.groups)
	defer r.opt.release()
	if err := r.restore(); err != nil {
		return nil, err
	}
	t.training(false)
	err = r.validate(ctx)
	t.training(true)
	if err != nil {
		return nil, r.stopped(ctx, err)
	}
	left := r.left.norm()
	for r.done < r.Options.MaxTrainStepsTuning {
		t.setStep(r.done)
		t.slab.ZeroGrad()
		loss, err := r.gradients(ctx, 1)
		if err != nil {
			return nil, r.stopped(ctx, err)
		}
		norm := r.opt.gradNorm(left * left)
		if err := r.finite(norm); err != nil {
			return nil, err
		}
		if r.watch.gradients != nil {
			r.watch.gradients(r, norm, left)
		}
		factor := clipFactor(norm, r.Options.MaxGradNorm)
		left *= factor // clipping scales it in place
		r.opt.update(r.done, factor)
		t.training(false)
		err = r.after(ctx, loss, norm)
		t.training(true)
		if err != nil {
			return nil, r.stopped(ctx, err)
		}
	}
	if r.Options.ContinueInversion {
		for e, v := range r.step.Words.Placeholders {
			r.words.rows[e] = v.T.Float32()
		}
	}
	return t.result()
}

// trainables are what the tuning trains.
type trainables struct {
	r      *run
	slab   *nn.Slab
	groups []group
	unet   *lora.Trainable // nil with dreambooth
	text   *lora.Trainable // nil without train_text_encoder
	clock  *tensor.Tensor  // the step, where dropout reads it

	closers []func()
}

// trainables makes the parameters of the tuning: those of the UNet first, then
// the text encoders', then the rows if they go on.
func (r *run) trainables() (_ *trainables, err error) {
	t := &trainables{r: r, clock: r.Model.Pool.FromInt32([]int32{0}, 1)}
	t.closers = append(t.closers, t.clock.Release)
	defer func() {
		if err != nil {
			t.release()
		}
	}()
	o := r.Options
	scale := 1.0
	if o.ScaleLR {
		scale = float64(o.GradientAccumulationSteps * o.TrainBatchSize)
	}
	rate := func(base float64) Rate {
		return Rate{o.LRSchedulerLoRA, base, o.LRWarmupStepsLoRA, o.MaxTrainStepsTuning}
	}
	b := &nn.SlabBuilder{}
	if err := t.addUNet(b); err != nil {
		return nil, err
	}
	if err := t.addText(b); err != nil {
		return nil, err
	}
	if o.ContinueInversion && len(r.words.names) > 0 {
		r.step.Words.Placeholders = r.addRows(b)
		t.closers = append(t.closers, func() { r.step.Words.Placeholders = nil })
	} else {
		t.closers = append(t.closers, r.setRows())
	}
	t.slab = b.Build(r.Model.Pool)
	t.closers = append(t.closers, t.slab.Release)

	text, rows := t.spans()
	t.groups = []group{
		{0, text, rate(o.LearningRateUNet * scale), o.WeightDecayLoRA},
		{text, rows - text, rate(o.LearningRateText * scale), o.WeightDecayLoRA},
		// Taken as it is, as the original takes it.
		{rows, t.slab.Value.Len() - rows, rate(o.ContinueInversionLR), o.WeightDecayTI},
	}
	return t, nil
}

// spans tells where the text encoders' parameters and the rows begin.
func (t *trainables) spans() (text, rows int) {
	n := t.slab.Value.Len()
	text, rows = n, n
	for i := len(t.slab.Params) - 1; i >= 0; i-- {
		p := t.slab.Params[i]
		switch {
		case p.Name == "rows.0":
			text, rows = p.Off, p.Off
		case len(p.Name) > 5 && p.Name[:5] == "text_":
			text = p.Off
		}
	}
	return text, rows
}

func (t *trainables) addUNet(b *nn.SlabBuilder) error {
	r := t.r
	if r.Options.Method == MethodDreamBooth {
		u, release, err := r.Model.TrainUNet(diffusion.Trained{Slab: b, Match: func(string) bool { return true }})
		if err != nil {
			return err
		}
		t.closers = append(t.closers, release)
		r.step.UNet = u
		return nil
	}
	u, err := r.loadUNet()
	if err != nil {
		return err
	}
	t.unet, err = lora.NewTrainable(r.Model.Pool, b, u, nil, lora.TrainOptions{
		Base: r.Layers, Rank: r.Options.LoRARank, Targets: lora.Targets(r.Options.LoRATargets), Scale: float32(r.Options.LoRAScale),
		Init: r.initDown(0),
		Drop: func(index int, _ *lora.Module) device.Dropout {
			return device.Dropout{P: float32(r.Options.LoRADropoutP), Draw: device.Draw{
				Key: r.Options.Seed, Stream: uint32(Tuning)*streamsPerPhase + uint32(streamDropout) + uint32(index), Step: t.clock.Data}}
		},
	})
	if err != nil {
		return err
	}
	t.closers = append(t.closers, t.unet.Release)
	return nil
}

// addText adds the text encoders' adapters, which have neither dropout nor a
// scale in the original.
func (t *trainables) addText(b *nn.SlabBuilder) error {
	r := t.r
	if !r.Options.TrainTextEncoder {
		return nil
	}
	var encoders []*clip.Encoder
	for i := range r.Model.Text {
		e, err := r.Model.TextNetwork(i)
		if err != nil {
			return err
		}
		encoders = append(encoders, e)
	}
	var err error
	t.text, err = lora.NewTrainable(r.Model.Pool, b, nil, encoders, lora.TrainOptions{Base: r.Layers, Rank: r.Options.LoRARank, Init: r.initDown(1)})
	if err != nil {
		return err
	}
	t.closers = append(t.closers, t.text.Release)
	return nil
}

// initDown draws down factors from N(0, 1/rank²), as the original does; part
// keeps the UNet's numbers apart from the text encoders'.
func (r *run) initDown(part int) func(index int, m *lora.Module, down []float32) {
	return func(index int, m *lora.Module, down []float32) {
		if init, ok := r.feed.(interface {
			down(m *lora.Module, down []float32)
		}); ok {
			init.down(m, down)
			return
		}
		copy(down, r.src.at(Tuning, streamDown, index, part).Normals(len(down)))
		for i := range down {
			down[i] /= float32(r.Options.LoRARank)
		}
	}
}

// setStep tells dropout which step it is.
func (t *trainables) setStep(step int) {
	host := [4]byte{byte(step), byte(step >> 8), byte(step >> 16), byte(step >> 24)}
	t.clock.Pool().Device.Upload(t.clock.Data, host[:])
}

// training switches dropout on and off.
func (t *trainables) training(on bool) {
	if t.unet != nil {
		t.unet.Training(on)
	}
}

// result copies what was trained. Numbers that are not finite are an error, and
// those that files, in float16, could not hold.
func (t *trainables) result() (*Result, error) {
	r := t.r
	for _, v := range t.slab.Value.Float32() {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, spoilt(f)
		}
	}
	out := &Result{Curve: r.curve, Set: &lora.Set{Name: r.Name, Base: r.Layers, Tokens: r.words.tokens()}}
	if t.unet != nil {
		out.Set = t.unet.Export(r.Name, r.words.tokens())
	}
	if t.text != nil {
		out.Set.Adapters = append(out.Set.Adapters, t.text.Export(r.Name, nil).Adapters...)
	}
	for _, a := range out.Set.Adapters {
		if err := errors.Join(fitsFloat16(a.Down, 1), fitsFloat16(a.Up, a.Scale)); err != nil {
			return nil, err
		}
	}
	if t.unet != nil {
		return out, nil
	}
	shape, err := r.Model.StoredShape("unet")
	if err != nil {
		return nil, err
	}
	for _, p := range t.slab.Params {
		if p.Off >= t.groups[0].n {
			break
		}
		values := p.V.T.Float32()
		if err := fitsFloat16(values, 1); err != nil {
			return nil, err
		}
		out.UNet = append(out.UNet, safetensors.FromFloat32s(p.Name, safetensors.F16, shape(p.Name), values))
	}
	return out, nil
}

// fitsFloat16 refuses values that are beyond float16 when they are scaled.
func fitsFloat16(values []float32, scale float32) error {
	for _, v := range values {
		if v *= scale; v >= lora.MaxF16 || v <= -lora.MaxF16 {
			return spoilt(float64(v))
		}
	}
	return nil
}

// spoilt is the error for a training that ends with the number v in its result.
func spoilt(v float64) error {
	return fmt.Errorf("a trained value is %g, which no file can hold (float16 ends at 65504): the training has diverged, and nothing was written; try smaller learning rates (a tenth)", v)
}

func (t *trainables) release() {
	for i := len(t.closers) - 1; i >= 0; i-- {
		t.closers[i]()
	}
	t.closers = nil
}
