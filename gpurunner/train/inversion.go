package train

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// inversion trains the placeholder rows alone. An update follows every step
// whose number the accumulation divides, the first among them; what is gathered
// after the last update is lost, as in the original.
func (r *run) inversion(ctx context.Context) error {
	if r.phase != Inversion || r.steps(Inversion) == 0 {
		return nil
	}
	o := r.Options
	if _, err := r.loadUNet(); err != nil {
		return err
	}
	b := &nn.SlabBuilder{}
	r.step.Words.Placeholders = r.addRows(b)
	slab := b.Build(r.Model.Pool)
	defer slab.Release()
	accumulate := o.GradientAccumulationSteps
	rate := o.LearningRateTI
	if o.ScaleLR {
		rate *= float64(accumulate * o.TrainBatchSize)
	}
	r.opt = newOptimizer(slab, []group{{0, slab.Value.Len(), Rate{o.LRScheduler, rate, o.LRWarmupSteps, o.MaxTrainStepsTI}, o.WeightDecayTI}})
	defer r.opt.release()
	if err := r.restore(); err != nil {
		return err
	}
	defer func() { r.step.Words.Placeholders, r.step.Words.Seen = nil, nil }()
	if err := r.validate(ctx); err != nil {
		return r.stopped(ctx, err)
	}
	for r.done < o.MaxTrainStepsTI {
		before := slab.Grad.Float32() // a step that is broken off leaves half of its gradients
		loss, err := r.gradients(ctx, 1/float64(accumulate))
		if err != nil {
			slab.Grad.SetFloat32(before)
			return r.stopped(ctx, err)
		}
		if r.done%accumulate == 0 {
			norm := r.opt.gradNorm(0)
			if err := r.finite(norm); err != nil {
				return err
			}
			if r.watch.gradients != nil {
				r.watch.gradients(r, norm, 0)
			}
			r.opt.update(r.done, 1)
			slab.ZeroGrad()
			r.left.clear()
			if o.ClipTIDecay {
				pullNorms(r.step.Words.Placeholders, r.opt.groups[0].rate.At(r.done))
			}
		}
		if err := r.after(ctx, loss, 0); err != nil {
			return r.stopped(ctx, err)
		}
	}
	for e, v := range r.step.Words.Placeholders {
		r.words.rows[e] = v.T.Float32()
	}
	return nil
}

// addRows makes the placeholder rows parameters of a slab.
func (r *run) addRows(b *nn.SlabBuilder) []*autodiff.Value {
	var out []*autodiff.Value
	for e, rows := range r.words.rows {
		out = append(out, b.Add(fmt.Sprintf("rows.%d", e), rows, len(r.words.names), r.words.widths[e]))
	}
	return out
}

// gradients runs one step and returns its loss.
func (r *run) gradients(ctx context.Context, share float64) (float64, error) {
	b, err := r.feed.batch(ctx, r.phase, r.done)
	if err != nil {
		return 0, err
	}
	defer b.Release()
	if r.Compat && r.phase == Inversion {
		r.step.Words.Seen = func(encoder int, dy *tensor.Tensor) { r.left.add(encoder, b.Tokens[encoder], dy) }
	}
	losses, err := r.step.Run(ctx, b, share)
	if err != nil {
		return 0, err
	}
	return mean(losses, r.phase, r.done)
}

// finite refuses gradients that are no numbers.
func (r *run) finite(norm float64) error {
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return &DivergedError{Phase: r.phase, Step: r.done, Loss: norm}
	}
	return nil
}

// vocabularyNorm is about the norm of a word's embedding in the vocabulary of
// Stable Diffusion 1.
const vocabularyNorm = 0.4

// pullNorms moves the norm of each row towards the vocabulary's, by a part of
// 100 times the learning rate, at most all the way.
func pullNorms(tables []*autodiff.Value, rate float64) {
	lambda := math.Min(1, 100*rate)
	for _, table := range tables {
		values, width := table.T.Float32(), table.T.Dim(1)
		for row := range slices.Chunk(values, width) {
			norm := 0.0
			for _, v := range row {
				norm += float64(v) * float64(v)
			}
			norm = math.Sqrt(norm)
			factor := (norm + lambda*(vocabularyNorm-norm)) / math.Max(norm, 1e-12)
			for i, v := range row {
				row[i] = float32(float64(v) * factor)
			}
		}
		table.T.SetFloat32(values)
	}
}

// leftOver is the gradient of the whole vocabulary that the original's
// inversion leaves behind, of which this engine has no other use.
type leftOver struct {
	rows map[token][]float64
}

type token struct {
	encoder int
	id      int32
}

func (l *leftOver) clear() { l.rows = nil }

// add takes the gradient of embedded prompts, [B,T,C].
func (l *leftOver) add(encoder int, ids [][]int32, dy *tensor.Tensor) {
	if l.rows == nil {
		l.rows = map[token][]float64{}
	}
	c, t := dy.Dim(2), dy.Dim(1)
	for i, row := range slices.Collect(slices.Chunk(dy.Float32(), c)) {
		key := token{encoder, ids[i/t][i%t]}
		if l.rows[key] == nil {
			l.rows[key] = make([]float64, c)
		}
		for j, v := range row {
			l.rows[key][j] += float64(v)
		}
	}
}

// norm is the gradient's norm. Rows are summed in no order: the replay of
// recorded runs is its only use.
func (l *leftOver) norm() float64 {
	sum := 0.0
	for _, row := range l.rows {
		for _, v := range row {
			sum += v * v
		}
	}
	return math.Sqrt(sum)
}
