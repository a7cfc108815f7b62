package train

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/sampler"
)

// Each test here asserts what an option is for, not merely that bytes differ.

func TestWeightDecay(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	decayed := func(decay float64) float64 {
		down, _ := norms(x.train(func(o *Options) { o.WeightDecayLoRA, o.LearningRateUNet = decay, 0.01 }).Set, lora.UNet)
		return down
	}
	// AdamW multiplies by 1-lr·decay each step; 4 steps at 0.01·2 and decay 5.
	plain, shrunk := decayed(0), decayed(5)
	if ratio := shrunk / plain; math.Abs(ratio-math.Pow(1-0.02*5, 4)) > 0.05 {
		t.Errorf("weight_decay_lora: norms %v and %v", plain, shrunk)
	}
	rows := func(decay float64) float64 {
		return norm(row(x.train(func(o *Options) {
			o.WeightDecayTI, o.ClipTIDecay, o.LearningRateTI, o.InitializerTokens = decay, false, 1e-3, "<rand-1>|<rand-1>"
		}), 0))
	}
	// Updates follow steps 0 and 2.
	plain, shrunk = rows(0), rows(100)
	if ratio := shrunk / plain; math.Abs(ratio-math.Pow(1-0.002*100, 2)) > 0.02 {
		t.Errorf("weight_decay_ti: norms %v and %v", plain, shrunk)
	}
}

// rates trains and returns the first group's rates, by phase.
func (x *tiny) rates(change func(o *Options)) (inversion, tuning [][]float64) {
	o := x.options()
	change(&o)
	job := x.job(o)
	job.Progress = func(p Progress) {
		if p.Phase == Inversion {
			inversion = append(inversion, p.Rates)
		} else {
			tuning = append(tuning, p.Rates)
		}
	}
	x.run(job)
	return inversion, tuning
}

func TestRates(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	near := func(name string, got [][]float64, group int, want ...float64) {
		t.Helper()
		for i, w := range want {
			if math.Abs(got[i][group]-w) > 1e-12 {
				t.Errorf("%s: step %d: got %v, want %v", name, i, got[i][group], w)
			}
		}
	}
	inv, tune := x.rates(func(o *Options) {
		o.ScaleLR, o.LRScheduler, o.LRWarmupSteps, o.LRSchedulerLoRA, o.LRWarmupStepsLoRA = false, "constant_with_warmup", 4, "linear", 2
		o.LearningRateTI, o.LearningRateUNet, o.LearningRateText = 4e-3, 1e-3, 1e-4
	})
	near("warm-up of the inversion", inv, 0, 1e-3, 2e-3, 3e-3, 4e-3)
	near("warm-up of the UNet", tune, 0, 0.5e-3, 1e-3, 0.5e-3, 0)
	near("warm-up of the text encoder", tune, 1, 0.5e-4, 1e-4, 0.5e-4, 0)
	inv, tune = x.rates(func(o *Options) {
		o.ScaleLR, o.GradientAccumulationSteps, o.TrainBatchSize = true, 3, 2
		o.LearningRateTI, o.LearningRateUNet, o.LearningRateText = 1e-3, 2e-3, 3e-3
		o.ContinueInversion, o.ContinueInversionLR = true, 5e-4
	})
	near("scale_lr of the inversion", inv, 0, 6e-3)
	near("scale_lr of the UNet", tune, 0, 12e-3)
	near("scale_lr of the text encoder", tune, 1, 18e-3)
	near("continue_inversion_lr", tune, 2, 5e-4)
}

// TestWarmupOfConstant: the schedule constant has no warm-up, as in the original,
// and the log says what has.
func TestWarmupOfConstant(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	for _, tt := range []struct {
		schedule, scheduleLoRA string
		want                   []string
	}{
		{"constant", "constant", []string{"lr_warmup_steps is 2 and has no effect with lr_scheduler constant: choose constant_with_warmup",
			"lr_warmup_steps_lora is 3 and has no effect with lr_scheduler_lora constant: choose constant_with_warmup"}},
		{"linear", "constant_with_warmup", nil},
	} {
		t.Run(tt.schedule+"_"+tt.scheduleLoRA, func(t *testing.T) {
			o := x.options()
			o.LRScheduler, o.LRSchedulerLoRA, o.LRWarmupSteps, o.LRWarmupStepsLoRA = tt.schedule, tt.scheduleLoRA, 2, 3
			var notes []string
			job := x.job(o)
			job.Log = func(format string, args ...any) {
				if note := fmt.Sprintf(format, args...); strings.Contains(note, "warmup") {
					notes = append(notes, note)
				}
			}
			first := map[Phase]float64{}
			job.Progress = func(p Progress) {
				if p.Step == 1 {
					first[p.Phase] = p.Rates[0]
				}
			}
			x.run(job)
			if !slices.Equal(notes, tt.want) {
				t.Errorf("got %q, want %q", notes, tt.want)
			}
			if full := o.LearningRateUNet * float64(o.GradientAccumulationSteps); (first[Tuning] == full) != (tt.scheduleLoRA == "constant") {
				t.Errorf("the first rate of the tuning is %v, the full one %v", first[Tuning], full)
			}
		})
	}
}

// TestLearningRateMoves: Adam's first step moves every value by the rate.
func TestLearningRateMoves(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	for _, part := range []struct {
		part lora.Part
		set  func(o *Options, rate float64)
	}{
		{lora.UNet, func(o *Options, r float64) { o.LearningRateUNet = r }},
		{lora.TextEncoder, func(o *Options, r float64) { o.LearningRateText = r }},
	} {
		for _, rate := range []float64{0, 1e-3} {
			r := x.train(func(o *Options) {
				o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.ScaleLR = 0, 1, false
				part.set(o, rate)
			})
			largest := 0.0
			for _, a := range r.Set.Adapters {
				if a.Module.Part == part.part {
					for _, v := range a.Up {
						largest = math.Max(largest, math.Abs(float64(v)))
					}
				}
			}
			if math.Abs(largest-rate) > 1e-3*rate {
				t.Errorf("%s at rate %v: the largest step was %v", part.part, rate, largest)
			}
		}
	}
	// The rows: in the inversion, and by a rate of their own in the tuning.
	const rate = 1e-3
	for name, set := range map[string]func(o *Options){
		"learning_rate_ti":      func(o *Options) { o.LearningRateTI, o.MaxTrainStepsTI = rate, 1 },
		"continue_inversion_lr": func(o *Options) { o.ContinueInversionLR, o.ContinueInversion, o.MaxTrainStepsTuning = rate, true, 1 },
	} {
		r := x.train(func(o *Options) {
			o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.ScaleLR, o.ClipTIDecay, o.InitializerTokens = 0, 0, false, false, "<zero>|<zero>"
			set(o)
		})
		largest := 0.0
		for _, v := range row(r, 0) {
			largest = math.Max(largest, math.Abs(float64(v)))
		}
		if math.Abs(largest-rate) > 1e-3*rate {
			t.Errorf("%s of %v: the largest step was %v", name, rate, largest)
		}
	}
}

// TestMaxGradNorm: what AdamW is given is no longer than the norm. Its first
// moment after one update is a tenth of that.
func TestMaxGradNorm(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	const tenth = 1 - beta1
	for _, limit := range []float64{1e-3, 1e6} {
		o := x.options()
		o.MaxGradNorm, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = limit, 0, 1
		job := x.job(o)
		before, after := 0.0, 0.0
		job.watch.gradients = func(_ *run, n, _ float64) { before = n }
		job.watch.stepped = func(r *run, _ float64) { after = norm(r.opt.m.Float32()) / tenth }
		x.run(job)
		if before <= 1e-3 {
			t.Fatalf("a gradient of norm %v is too short to be clipped", before)
		}
		if want := math.Min(before, limit); math.Abs(after-want) > 1e-3*want {
			t.Errorf("max_grad_norm %v: a gradient of norm %v became one of %v", limit, before, after)
		}
	}
}

// TestMinSNR: the option weighs a step's loss by min(snr, gamma)/snr of its
// timestep.
func TestMinSNR(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	schedule, err := sampler.NewSchedule(x.model.Scheduler)
	if err != nil {
		t.Fatal(err)
	}
	losses := func(gamma float64) Curve {
		return x.train(func(o *Options) {
			o.MinSNRGamma, o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.LearningRateUNet, o.LearningRateText = gamma, 0, 12, 0, 0
		}).Curve
	}
	o := x.options()
	f, release := x.feed(o, nil)
	defer release()
	plain, weighed, low := losses(0), losses(5), 0
	for i := range plain {
		snr := schedule.SNR(f.timesteps(Tuning, i, 1)[0])
		want := plain[i].Loss
		if snr > 5 {
			low++
			want *= 5 / snr
		}
		if math.Abs(weighed[i].Loss-want) > 1e-4*want {
			t.Errorf("step %d at a snr of %v: loss %v, want %v", i, snr, weighed[i].Loss, want)
		}
	}
	if low == 0 || low == len(plain) {
		t.Errorf("%d of %d steps are of a snr above 5; the test shows nothing", low, len(plain))
	}
}

// TestSteps: each phase has its own number of them.
func TestSteps(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	for _, n := range [][2]int{{3, 5}, {0, 2}, {2, 0}} {
		got := map[Phase]int{}
		for _, p := range x.train(func(o *Options) { o.MaxTrainStepsTI, o.MaxTrainStepsTuning = n[0], n[1] }).Curve {
			got[p.Phase]++
		}
		if got[Inversion] != n[0] || got[Tuning] != n[1] {
			t.Errorf("max_train_steps_ti %d and max_train_steps_tuning %d: got %v", n[0], n[1], got)
		}
	}
}

func TestTrainTextEncoder(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	with := x.train(func(o *Options) {})
	without := x.train(func(o *Options) { o.TrainTextEncoder = false })
	if !with.Set.HasPart(lora.TextEncoder) || without.Set.HasPart(lora.TextEncoder) {
		t.Error("train_text_encoder decides whether the file adapts the text encoder")
	}
	if _, up := norms(without.Set, lora.UNet); up == 0 {
		t.Error("without the text encoder the UNet was not trained")
	}
}

func TestClipTIDecay(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	length := func(clip bool, start string) float64 {
		return norm(row(x.train(func(o *Options) {
			o.ClipTIDecay, o.LearningRateTI, o.InitializerTokens, o.ScaleLR = clip, 0.005, start, false
		}), 0))
	}
	for _, start := range []string{"<rand-0.001>|<rand-0.001>", "<rand-1>|<rand-1>"} {
		free, pulled := length(false, start), length(true, start)
		if math.Abs(pulled-0.4) >= math.Abs(free-0.4) {
			t.Errorf("from %s: norm %v with clip_ti_decay, %v without; the vocabulary's is 0.4", start, pulled, free)
		}
	}
	// At a rate of 0.01 the pull goes all the way.
	if n := norm(row(x.train(func(o *Options) { o.LearningRateTI, o.ScaleLR = 0.01, false }), 0)); math.Abs(n-0.4) > 1e-5 {
		t.Errorf("norm %v, want 0.4", n)
	}
}

func TestContinueInversion(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	inverted := x.train(func(o *Options) { o.MaxTrainStepsTuning = 0 })
	stays := x.train(func(o *Options) {})
	goesOn := x.train(func(o *Options) { o.ContinueInversion = true })
	if !slices.Equal(row(inverted, 0), row(stays, 0)) {
		t.Error("the tuning changed the embeddings without continue_inversion")
	}
	if slices.Equal(row(inverted, 0), row(goesOn, 0)) {
		t.Error("continue_inversion left the embeddings as they were")
	}
}

func TestInitializerTokens(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	start := func(text string) *Result {
		return x.train(func(o *Options) { o.InitializerTokens, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = text, 0, 1 })
	}
	r := start("<zero>|a")
	if norm(row(r, 0)) != 0 {
		t.Error("<zero> is not zero")
	}
	net, err := x.model.TextNetwork(0)
	if err != nil {
		t.Fatal(err)
	}
	ids := x.model.Text[0].Tokenizer.Encode("a")
	want, err := net.Embedding(ids[1])
	if err != nil || !slices.Equal(row(r, 1), want) {
		t.Errorf("the word's embedding was not taken (%v)", err)
	}
	width := float64(len(want))
	for text, sigma := range map[string]float64{"<rand-0.5>|<zero>": 0.5, "": 0.017} {
		if got := norm(row(start(text), 0)) / math.Sqrt(width); math.Abs(got-sigma) > 0.4*sigma {
			t.Errorf("%q: deviation %v, want about %v", text, got, sigma)
		}
	}
	o := x.options()
	o.InitializerTokens = "antidisestablishmentarianism|<zero>"
	if _, err := Run(context.Background(), x.job(o)); err == nil || !strings.Contains(err.Error(), "it must be one") {
		t.Errorf("a word of several tokens: %v", err)
	}
	o = x.options()
	o.PlaceholderTokens = "a</w>"
	if _, err := Run(context.Background(), x.job(o)); err == nil || !strings.Contains(err.Error(), "knows the word") {
		t.Errorf("a placeholder that is a word: %v", err)
	}
}

func TestPlaceholderTokens(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	r := x.train(func(o *Options) { o.PlaceholderTokens, o.MaxTrainStepsTI = "<a>|<b>|<c>", 1 })
	var names []string
	for _, tok := range r.Set.Tokens {
		names = append(names, tok.Name)
	}
	if got := strings.Join(names, " "); got != "<a> <b> <c>" {
		t.Errorf("got tokens %s", got)
	}
	r = x.train(func(o *Options) { o.PlaceholderTokens, o.UseTemplate = "", "none" })
	if len(r.Set.Tokens) != 0 || len(r.Curve) != 4 {
		t.Errorf("without tokens: %d tokens, %d steps", len(r.Set.Tokens), len(r.Curve))
	}
}

func TestAdapterShape(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	count := func(o func(o *Options)) (linear, conv, rank int) {
		for _, a := range x.train(o).Set.Adapters {
			rank = a.Rank
			if a.Module.Kernel > 0 {
				conv++
			} else {
				linear++
			}
		}
		return linear, conv, rank
	}
	linear, conv, rank := count(func(o *Options) { o.LoRARank = 3 })
	if rank != 3 || conv != 0 {
		t.Errorf("rank %d, %d convolutions", rank, conv)
	}
	more, conv, _ := count(func(o *Options) { o.LoRATargets = TargetsExtended })
	if conv == 0 || more <= linear {
		t.Errorf("extended targets: %d convolutions and %d linear layers, default 0 and %d", conv, more, linear)
	}
	o := x.options()
	o.LoRARank = 100
	job := x.job(o)
	job.Progress = func(p Progress) { t.Errorf("a step was made: %+v", p) } // hours, with a large base
	if _, err := Run(context.Background(), job); err == nil || !strings.Contains(err.Error(), "rank") {
		t.Errorf("a rank beyond the layers: %v", err)
	}
}

// TestLoRAScale: the scale is folded into up, so Adam's first step at scale 2
// comes out twice as long.
func TestLoRAScale(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	up := func(scale float64, p lora.Part) float64 {
		_, up := norms(x.train(func(o *Options) { o.LoRAScale, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = scale, 0, 1 }).Set, p)
		return up
	}
	if ratio := up(2, lora.UNet) / up(1, lora.UNet); math.Abs(ratio-2) > 0.01 {
		t.Errorf("the UNet's factors are %v times as long, want 2", ratio)
	}
	if ratio := up(2, lora.TextEncoder) / up(1, lora.TextEncoder); math.Abs(ratio-1) > 0.05 {
		t.Errorf("the text encoder's factors are %v times as long, want 1: its scale is 1 always", ratio)
	}
}

// TestDropout: dropout acts on the UNet's adapters once they are not zero, and
// not while a validation measures.
func TestDropout(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	curve := func(p float64) Curve {
		return x.train(func(o *Options) {
			o.LoRADropoutP, o.LearningRateUNet, o.ValidationImages, o.ValidationEvery, o.MaxTrainStepsTI = p, 0.01, 1, 1, 0
		}).Curve
	}
	plain, dropped := curve(0), curve(0.5)
	if plain[0].Loss != dropped[0].Loss {
		t.Error("dropout changed the loss of adapters that are zero")
	}
	if plain[2].Loss == dropped[2].Loss {
		t.Error("dropout changed nothing")
	}
	// Measured without dropout, the two differ by one update's gradients
	// alone.
	if d := math.Abs(plain[0].Validation - dropped[0].Validation); d > 0.05*plain[0].Validation {
		t.Errorf("validation losses %v and %v after the first step", plain[0].Validation, dropped[0].Validation)
	}
}

func TestAccumulationAndBatch(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	updates := func(accumulate, steps int) (n int) {
		o := x.options()
		o.GradientAccumulationSteps, o.MaxTrainStepsTI, o.MaxTrainStepsTuning = accumulate, steps, 0
		job := x.job(o)
		job.watch.gradients = func(*run, float64, float64) { n++ }
		x.run(job)
		return n
	}
	if a, b := updates(1, 7), updates(3, 7); a != 7 || b != 3 {
		t.Errorf("%d updates in 7 steps, and %d over 3 each; want 7 and 3 (after steps 0, 3, 6)", a, b)
	}
	o := x.options()
	o.TrainBatchSize = 3
	f, release := x.feed(o, nil)
	defer release()
	b, err := f.batch(context.Background(), Tuning, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if b.Latents.Dim(0) != 3 || len(b.Timesteps) != 3 || len(b.Tokens[0]) != 3 {
		t.Errorf("a batch of %d pictures, want 3", b.Latents.Dim(0))
	}
}

// TestGradientCheckpointing: equal losses with less memory.
func TestGradientCheckpointing(t *testing.T) {
	var peak [2]int64
	var curves [2]Curve
	for i, on := range []bool{false, true} {
		x := newTiny(t, "sd15-tiny")
		curves[i] = x.train(func(o *Options) {
			o.GradientCheckpointing, o.TrainBatchSize, o.Resolution, o.MaxTrainStepsTI = on, 4, 64, 0
		}).Curve
		peak[i] = x.pool.Device.Stats().Peak
	}
	for i, p := range curves[0] {
		if d := math.Abs(p.Loss - curves[1][i].Loss); d > 1e-5 {
			t.Errorf("step %d: loss %v with checkpointing, %v without", i, curves[1][i].Loss, p.Loss)
		}
	}
	if float64(peak[1]) > 0.8*float64(peak[0]) {
		t.Errorf("the peak of memory is %d bytes with checkpointing, %d without", peak[1], peak[0])
	}
}

func TestDreamBooth(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	o.Method, o.LearningRateUNet = MethodDreamBooth, 1e-4
	r := x.run(x.job(o))
	again := x.run(x.job(o))
	if len(r.UNet) == 0 || len(r.Set.Tokens) != 2 || r.Set.HasPart(lora.UNet) {
		t.Fatalf("%d weights, %d tokens", len(r.UNet), len(r.Set.Tokens))
	}
	// The base's UNet, name for name and shape for shape.
	weights, err := x.base.Part("unet")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range r.UNet {
		names[e.Name] = true
		if w, ok := weights.Lookup(e.Name); !ok || !slices.Equal(w.Shape, e.Shape) {
			t.Errorf("%s has the shape %v, in the base %v", e.Name, e.Shape, w.Shape)
		}
	}
	if n := len(weights.Names()); len(names) != n {
		t.Errorf("%d weights, the base has %d", len(names), n)
	}
	if !names["conv_in.weight"] || !names["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"] {
		t.Error("the weights lack their diffusers names")
	}
	write := func(r *Result) []byte {
		var b bytes.Buffer
		if err := writeUNet(&b, r); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(write(r), write(again)) {
		t.Error("the same job gave other weights")
	}
}

// TestBeyondFloat16: what diverged without leaving float32 is refused, of the
// UNet's own weights as of adapters, and before anything is written.
func TestBeyondFloat16(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	for _, method := range []string{MethodLoRA, MethodDreamBooth} {
		t.Run("Err_"+method, func(t *testing.T) {
			o := x.options()
			o.Method, o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.TrainTextEncoder = method, 0, 1, false
			// Adam's first step moves every value by the rate: 10·1024·8.
			o.LearningRateUNet, o.ScaleLR, o.GradientAccumulationSteps, o.TrainBatchSize = 10, true, 1024, 8
			r, err := Run(context.Background(), x.job(o))
			if err == nil || !strings.Contains(err.Error(), "the training has diverged") || r != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSeedOfTheOrder(t *testing.T) {
	set := shapes(5, 8, false)
	o := newOrder(source{1}, set, 2)
	var seen []int
	for step := range 5 { // two epochs of five, in twos
		seen = append(seen, o.at(Tuning, step)...)
	}
	for _, epoch := range [][]int{seen[:5], seen[5:]} {
		if s := slices.Sorted(slices.Values(epoch)); !slices.Equal(s, []int{0, 1, 2, 3, 4}) {
			t.Errorf("an epoch shows %v", epoch)
		}
	}
	if slices.Equal(seen[:5], seen[5:]) {
		t.Error("both epochs have one order")
	}
	if again := newOrder(source{1}, set, 2); !slices.Equal(again.at(Tuning, 4), o.at(Tuning, 4)) {
		t.Error("the order depends on what was asked for before")
	}
	// Two sizes never meet in a batch.
	wide := shapes(5, 16, false)
	for i := range wide.Pictures {
		if i%2 == 0 {
			wide.Pictures[i].Image = shapes(1, 8, false).Pictures[0].Image
		}
	}
	mixed := newOrder(source{1}, wide, 2)
	for step := range 20 {
		b := mixed.at(Tuning, step)
		if wide.Pictures[b[0]].Size() != wide.Pictures[b[1]].Size() {
			t.Fatalf("step %d mixes sizes", step)
		}
	}
}
