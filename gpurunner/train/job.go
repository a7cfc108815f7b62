package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// Job is one training. Model, Layers, Options and Data are required.
type Job struct {
	Model   *diffusion.Model
	Layers  *lora.Base // of the model
	BaseID  string     // identifies the base's weights, for checkpoints
	Name    string     // of the result, for messages
	Options Options
	Data    *dataset.Set // prepared by LoadOptions
	Class   *dataset.Set // pictures of the class, for prior preservation

	// Checkpoint is the file to save progress in, "" for none: every
	// CheckpointEvery steps of a phase (0: never) and when ctx ends. An
	// existing one is gone on from if Resume is set. Saved, if not nil, is
	// called after each; its error ends the job.
	Checkpoint      string
	CheckpointEvery int
	Resume          bool
	Saved           func(path string) error

	// Progress, if not nil, is called after every step.
	Progress func(Progress)
	// Preview, if not nil, is called every PreviewEvery steps of a phase (0:
	// never) with the model as it is, ready to draw with p.Words.
	Preview      func(ctx context.Context, p Preview) error
	PreviewEvery int
	// Log, if not nil, takes notes for the job's owner.
	Log func(format string, args ...any)

	// Compat reproduces what the original does by mistake: the gradient that
	// the inversion leaves counts in the tuning's clipping.
	Compat bool

	feed  feeder // replaces the data set, for replays
	watch watch
}

// watch is what tests see of a run.
type watch struct {
	gradients func(r *run, norm, left float64) // before an update
	stepped   func(r *run, loss float64)       // after a step
}

// Progress tells how far a job is.
type Progress struct {
	Phase      Phase
	Step, Of   int // steps done of the phase
	Done, All  int // steps done of both phases
	Loss       float64
	Rates      []float64 // of the groups: embeddings; or UNet, text encoders, embeddings
	GradNorm   float64   // before clipping; 0 where none was taken
	Validation float64   // loss on the held-out pictures, where it was measured
	Validated  bool
	Left       time.Duration // at the pace of this run so far
}

// Preview is a moment to draw at.
type Preview struct {
	Phase     Phase
	Step      int // steps done of the phase
	Done, All int // steps done of both phases
	Words     diffusion.Words
	Concept   string // the tokens as prompts have them
}

// Result is what a job made.
type Result struct {
	// Set is adapters and tokens; of the method dreambooth tokens alone.
	Set *lora.Set
	// UNet is the trained weights of the method dreambooth, under diffusers'
	// names, in the order of the model.
	UNet  []safetensors.Entry
	Curve Curve
}

// LoadOptions are what dataset.Load has to be given for these options; multiple
// is the base's resolution multiple, for aspect buckets.
func (o Options) LoadOptions(multiple int) dataset.Options {
	d := dataset.Options{Resolution: o.Resolution, Faces: o.UseFaceSegmentationCondition}
	if o.AspectBuckets {
		d.Buckets = dataset.Buckets(o.Resolution, max(multiple, 8))
	}
	return d
}

// Run trains. When ctx ends it saves a checkpoint, if it may, and returns ctx's
// error, joined with a *SaveError if that failed. A loss that is no number is a
// *DivergedError. The model's adapter slots are empty afterwards, whatever
// happened.
func Run(ctx context.Context, job Job) (*Result, error) {
	var result *Result
	err := job.Model.Pool.Try(func() (err error) {
		result, err = runJob(ctx, job)
		return err
	})
	return result, noRoom(err, job.Options)
}

func runJob(ctx context.Context, job Job) (*Result, error) {
	if t, ok := job.Model.Pool.Device.(device.Trainer); ok {
		if err := t.CheckTraining(); err != nil {
			return nil, err
		}
	}
	r, err := start(ctx, job)
	if err != nil {
		return nil, err
	}
	defer r.release()
	if err := r.resume(); err != nil {
		return nil, err
	}
	if err := r.inversion(ctx); err != nil {
		return nil, err
	}
	return r.tuning(ctx)
}

// run is a job under way.
type run struct {
	Job
	src   source
	words *placeholders
	step  Step
	feed  feeder
	held  *heldOut
	curve Curve

	phase   Phase
	done    int        // steps of the phase
	opt     *optimizer // of the phase
	left    leftOver
	closers []func()

	id       *checkpoint // hashes of the job, once known
	restored *checkpoint // read, and not yet in the phase's slab

	began   time.Time
	beganAt int // steps that were done then
}

func start(ctx context.Context, job Job) (_ *run, err error) {
	o := job.Options
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if job.Log == nil {
		job.Log = func(string, ...any) {}
	}
	for _, note := range o.warmupNotes() {
		job.Log("%s", note)
	}
	r := &run{Job: job, src: source{o.Seed}, began: time.Now()}
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	if err := r.checkModel(); err != nil {
		return nil, err
	}
	schedule, err := sampler.NewSchedule(job.Model.Scheduler)
	if err != nil {
		return nil, err
	}
	if r.words, err = newPlaceholders(job.Model, o, r.src); err != nil {
		return nil, err
	}
	r.step = Step{Model: job.Model, Schedule: schedule, Velocity: job.Model.Scheduler.PredictionType == "v_prediction",
		MinSNR: o.MinSNRGamma, Checkpoint: o.GradientCheckpointing}
	r.step.Words.Tokenizers = r.words.tokenizers
	return r, r.openFeed()
}

// openFeed splits off the pictures to validate on and makes the feed.
func (r *run) openFeed() error {
	if r.Job.feed != nil {
		r.feed = r.Job.feed
		r.words.begin(r.feed)
		return nil
	}
	data := r.Data
	if n := r.Options.ValidationImages; n > 0 {
		var held *dataset.Set
		var err error
		if data, held, err = data.Split(n); err != nil {
			return fmt.Errorf("validation_images: %w", err)
		}
		f, err := newFeed(r.Model, r.words, r.Options, held, nil)
		if err != nil {
			return err
		}
		r.closers = append(r.closers, f.release)
		r.held = &heldOut{feed: f}
	}
	f, err := newFeed(r.Model, r.words, r.Options, data, r.Class)
	if err != nil {
		return err
	}
	r.closers = append(r.closers, f.release)
	r.feed = f
	r.noteCaptions(data)
	return nil
}

// noteCaptions warns where nothing would tie the tokens to the pictures.
func (r *run) noteCaptions(data *dataset.Set) {
	if len(r.words.names) == 0 {
		if r.Options.MaxTrainStepsTI > 0 {
			r.Log("placeholder_tokens is empty, so there is no inversion")
		}
		return
	}
	c, without := newCaptioner(r.Options), 0
	for i := range data.Pictures {
		if prompt := c.prompt(&data.Pictures[i], func(int) int { return 0 }); !r.hasToken(prompt) {
			without++
		}
	}
	if without > 0 {
		r.Log("%d of %d captions have none of the tokens %s, which learn nothing from them; placeholder_token_at_data or caption_pattern puts the tokens there",
			without, len(data.Pictures), r.Options.PlaceholderTokens)
	}
}

// checkModel refuses what the base model cannot be trained for.
func (r *run) checkModel() error {
	o, m := r.Options, r.Model
	p := m.Scheduler.PredictionType
	switch {
	case p != "epsilon" && p != "v_prediction":
		return fmt.Errorf("the base model predicts %q; only bases that predict noise (epsilon) or velocity (v_prediction) can be trained", p)
	case m.Inpaints() && o.CachedLatents:
		return errors.New("cached_latents does not go with an inpainting base, whose pictures are masked anew at every step")
	case o.Method == MethodDreamBooth && r.Preview != nil && r.PreviewEvery > 0:
		return errors.New("previews are drawn with adapters only, not with the method dreambooth")
	case r.Job.feed == nil && (r.Data == nil || len(r.Data.Pictures) == 0):
		return errors.New("there are no pictures to train on")
	case (o.ClassPrompt != "") != (r.Class != nil) && r.Job.feed == nil:
		return errors.New("class_prompt and the class pictures belong together")
	}
	if err := r.checkRank(); err != nil {
		return err
	}
	if x := m.Scheduler.TrainTimesteps; x < 1 {
		return fmt.Errorf("the base model has %d training timesteps", x)
	}
	return nil
}

// checkRank refuses a rank that the tuning could not begin with, before the
// inversion has taken its time.
func (r *run) checkRank() error {
	o := r.Options
	var parts []lora.Part
	if o.Method != MethodDreamBooth {
		parts = append(parts, lora.UNet)
	}
	if o.TrainTextEncoder {
		parts = append(parts, lora.TextEncoder, lora.TextEncoder2)
	}
	for _, p := range parts {
		if err := r.Layers.CheckRank(p, lora.Targets(o.LoRATargets), o.LoRARank); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) hasToken(prompt string) bool {
	ids := r.Model.Tokenize([]string{prompt}, r.step.Words)
	for _, id := range ids[0][0] {
		if int(id) >= r.Model.Text[0].Config.VocabSize {
			return true
		}
	}
	return false
}

// loadUNet fetches the denoiser that is trained with adapters.
func (r *run) loadUNet() (*unet.UNet, error) {
	u, err := r.Model.UNet()
	if err != nil {
		return nil, err
	}
	r.step.UNet = u
	return u, nil
}

// setRows puts the placeholder rows where prompts find them, as constants.
func (r *run) setRows() (release func()) {
	if len(r.words.names) == 0 {
		r.step.Words.Placeholders = nil
		return func() {}
	}
	var values []*autodiff.Value
	for e, rows := range r.words.rows {
		values = append(values, autodiff.Constant(r.Model.Pool.FromFloat32(rows, len(r.words.names), r.words.widths[e])))
	}
	r.step.Words.Placeholders = values
	return func() {
		for _, v := range values {
			v.Release()
		}
		r.step.Words.Placeholders = nil
	}
}

func (r *run) release() {
	for i := len(r.closers) - 1; i >= 0; i-- {
		r.closers[i]()
	}
	r.closers = nil
}

// steps is the number of steps of a phase.
func (r *run) steps(p Phase) int {
	if p == Inversion {
		if len(r.words.names) == 0 {
			return 0
		}
		return r.Options.MaxTrainStepsTI
	}
	return r.Options.MaxTrainStepsTuning
}

// after counts a step that was made and does what follows it: validation,
// progress, preview, checkpoint.
func (r *run) after(ctx context.Context, loss, norm float64) error {
	r.curve = append(r.curve, Point{Phase: r.phase, Step: r.done, Loss: loss, Rate: r.opt.rates(r.done)[0]})
	r.done++
	if r.watch.stepped != nil {
		r.watch.stepped(r, loss)
	}
	if err := r.validate(ctx); err != nil {
		return err
	}
	if r.Progress != nil {
		r.Progress(r.progress(norm))
	}
	if r.Preview != nil && r.PreviewEvery > 0 && r.done%r.PreviewEvery == 0 {
		done, all := r.way()
		p := Preview{Phase: r.phase, Step: r.done, Done: done, All: all, Words: r.step.Words, Concept: r.words.concept()}
		if err := r.Preview(ctx, p); err != nil {
			return err
		}
	}
	if r.CheckpointEvery > 0 && r.done%r.CheckpointEvery == 0 {
		return r.save()
	}
	return nil
}

func (r *run) progress(norm float64) Progress {
	last := r.curve[len(r.curve)-1]
	done, all := r.way()
	p := Progress{Phase: r.phase, Step: r.done, Of: r.steps(r.phase), Done: done, All: all,
		Loss: last.Loss, Rates: r.opt.rates(last.Step), GradNorm: norm, Validation: last.Validation, Validated: last.Validated}
	if n := p.Done - r.beganAt; n > 0 {
		p.Left = time.Since(r.began) / time.Duration(n) * time.Duration(p.All-p.Done)
	}
	return p
}

// way is how many steps of both phases are done, of how many.
func (r *run) way() (done, all int) {
	done, all = r.done, r.steps(Inversion)+r.steps(Tuning)
	if r.phase == Tuning {
		done += r.steps(Inversion)
	}
	return done, all
}

// stopped saves what there is when ctx ended, and passes other errors on.
func (r *run) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return errors.Join(context.Cause(ctx), r.save())
}
