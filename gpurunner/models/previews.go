package models

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/pngtext"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/train"
	"github.com/lowrank/lowrank/gpurunner/worker"
)

// What a training may spend on pictures of how far it is.
const (
	maxPreviews  = 4
	previewSteps = 16
	// previewShare is the part of the training's work that all of its previews may be.
	previewShare = 0.04
)

// previewMoments are the numbers of steps after which a picture is drawn: evenly spread, the last one at the
// end, and as few as their share of the work allows. They follow from the options alone, so that a training
// that was interrupted draws the same ones. Work is counted in passes of one sample through the network: a
// step is a forward pass and a backward one that costs as much as two.
func previewMoments(o train.Options, all, evals int) []int {
	if all <= 0 || evals <= 0 {
		return nil
	}
	drawing, step := float64(2*evals), float64(3*o.TrainBatchSize)
	n := min(maxPreviews, int(previewShare*float64(all)*step/drawing))
	var out []int
	for i := range n {
		out = append(out, (i+1)*all/n)
	}
	return out
}

// previewPrompt is what previews show.
func previewPrompt(o train.Options, concept string) string {
	if o.UseTemplate == train.TaskStyle || strings.Contains(o.CaptionPattern, "style") {
		return "a cat in the style of " + concept
	}
	return "a photo of " + concept
}

// drawPreviews lets a training draw with what it has learnt so far, always from the same noise. What is
// trained does not change by it. A base that inpaints has nothing to draw on, the method dreambooth no
// adapters to draw with, without tokens nothing calls the concept, and who asks for gradient checkpointing
// has no memory to spare.
func (l *loaded) drawPreviews(t *worker.Task, job *train.Job) {
	o, card := job.Options, l.base.Card
	if l.noPreviews || o.PlaceholderTokens == "" || l.model.Inpaints() || o.Method == train.MethodDreamBooth || o.GradientCheckpointing {
		return
	}
	kind, err := sampler.ParseKind(card.Drawing.Scheduler)
	if err != nil {
		return // drawing says why
	}
	steps := min(previewSteps, card.Drawing.Steps)
	left, shares := map[int]int{}, []string{} // steps done to percent of the way
	moments := previewMoments(o, o.MaxTrainStepsTI+o.MaxTrainStepsTuning, steps)
	for i, m := range moments {
		left[m] = 100 * (i + 1) / len(moments)
		shares = append(shares, strconv.Itoa(left[m]))
	}
	if len(left) == 0 {
		return
	}
	t.Logf("Previews are drawn at %s %%.", strings.Join(shares, ", ")) // the page keeps places for them
	job.PreviewEvery = 1                                               // it is here that most are passed over
	job.Preview = func(ctx context.Context, p train.Preview) error {
		percent := left[p.Done]
		if percent == 0 {
			return nil
		}
		prompt := previewPrompt(o, p.Concept)
		r := generate.Request{
			Prompt: prompt, Words: p.Words, Seed: o.Seed, Scheduler: kind,
			Width: card.Drawing.Width, Height: card.Drawing.Height, Steps: steps, Guidance: card.Drawing.Guidance,
		}
		err := generate.Draw(ctx, l.model, r, func(_ int, p2 *imageops.Picture) error {
			var file bytes.Buffer
			text := fmt.Sprintf("%s\nSteps: %d, Sampler: %s, CFG scale: %g, Seed: %d, Training step: %d of %d, Size: %dx%d, Model: %s",
				prompt, r.Steps, r.Scheduler, r.Guidance, o.Seed, p.Done, p.All, p2.Width, p2.Height, l.name)
			if err := pngtext.Encode(&file, p2.Image(), text); err != nil {
				return err
			}
			return t.Beside(ctx, fmt.Sprintf("preview-%03d.png", percent), "image/png", &file)
		})
		if err != nil && ctx.Err() == nil { // a picture less is no reason to lose a training
			t.Logf("The preview at %d %% could not be drawn: %v", percent, err)
			return nil
		}
		return err
	}
}
