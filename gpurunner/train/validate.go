package train

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/lora"
)

// MaxSteps bounds each phase.
const MaxSteps = 1_000_000

// MaxDropout is the largest dropout: at 1 nothing would be left to learn from,
// and what is left is divided by 1 less it. The inputs' schema in package
// events has the same bound.
const MaxDropout = 0.99

// Validate checks every option by itself and against the others; its error
// says all that is wrong, an option a line.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within := func(name string, v, lo, hi float64) {
		if !(v >= lo && v <= hi) { // also refuses NaN
			bad("%s is %v; it must be from %v to %v", name, v, lo, hi)
		}
	}
	within("resolution", float64(o.Resolution), 8, 4096)
	if o.Resolution%8 != 0 {
		bad("resolution is %d; it must be a multiple of 8", o.Resolution)
	}
	within("train_batch_size", float64(o.TrainBatchSize), 1, 1024)
	within("gradient_accumulation_steps", float64(o.GradientAccumulationSteps), 1, 1024)
	within("lora_rank", float64(o.LoRARank), 1, 128)
	within("lora_dropout_p", o.LoRADropoutP, 0, MaxDropout)
	within("max_train_steps_ti", float64(o.MaxTrainStepsTI), 0, MaxSteps)
	within("max_train_steps_tuning", float64(o.MaxTrainStepsTuning), 0, MaxSteps)
	within("lr_warmup_steps", float64(o.LRWarmupSteps), 0, MaxSteps)
	within("lr_warmup_steps_lora", float64(o.LRWarmupStepsLoRA), 0, MaxSteps)
	for _, r := range []struct {
		name  string
		value float64
	}{
		{"learning_rate_text", o.LearningRateText}, {"learning_rate_ti", o.LearningRateTI}, {"learning_rate_unet", o.LearningRateUNet},
		{"continue_inversion_lr", o.ContinueInversionLR},
	} {
		within(r.name, r.value, 0, 10)
	}
	within("weight_decay_lora", o.WeightDecayLoRA, 0, 1000)
	within("weight_decay_ti", o.WeightDecayTI, 0, 1000)
	within("lora_scale", o.LoRAScale, -100, 100)
	if o.LoRAScale == 0 {
		bad("lora_scale is 0, under which the adapters would have no effect and learn nothing")
	}
	within("mask_temperature", o.MaskTemperature, 0, 10)
	within("min_snr_gamma", o.MinSNRGamma, 0, 1000)
	within("noise_offset", o.NoiseOffset, 0, 1)
	within("prior_loss_weight", o.PriorLossWeight, 0, 1000)
	within("validation_images", float64(o.ValidationImages), 0, 1000)
	within("validation_every", float64(o.ValidationEvery), 1, MaxSteps)
	within("max_grad_norm", o.MaxGradNorm, 1e-6, 1e6)
	within("timestep_limit", o.TimestepLimit, 0.001, 1)
	for _, s := range [][2]string{{"lr_scheduler", o.LRScheduler}, {"lr_scheduler_lora", o.LRSchedulerLoRA}} {
		if err := checkSchedule(s[0], s[1]); err != nil {
			errs = append(errs, err)
		}
	}
	if !slices.Contains([]string{MethodLoRA, MethodDreamBooth}, o.Method) {
		bad("method is %q; it must be lora or dreambooth", o.Method)
	}
	if _, err := lora.ParseTargets(o.LoRATargets); err != nil {
		errs = append(errs, err)
	}
	if o.MaxTrainStepsTI == 0 && o.MaxTrainStepsTuning == 0 {
		bad("max_train_steps_ti and max_train_steps_tuning are both 0: there is nothing to train")
	}
	if (o.ClassData == "") != (o.ClassPrompt == "") {
		bad("class_data and class_prompt belong together: give both or neither")
	}
	if _, _, err := o.tokens(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, o.captionErrors()...)
	return errors.Join(errs...)
}

// CheckFormat refuses placeholder tokens that a file in this layout could not
// hold, before anything is trained.
func (o Options) CheckFormat(f lora.Format) error {
	names, _, err := o.tokens()
	if err != nil {
		return err
	}
	if err := lora.CheckNames(f, names); err != nil {
		return fmt.Errorf("placeholder_tokens: %w", err)
	}
	return nil
}

// warmupNotes say which warm-up is asked for and has no effect. It is no error:
// the original takes such inputs, and does without it.
func (o Options) warmupNotes() (notes []string) {
	for _, s := range []struct {
		suffix, schedule string
		steps            int
	}{{"", o.LRScheduler, o.LRWarmupSteps}, {"_lora", o.LRSchedulerLoRA, o.LRWarmupStepsLoRA}} {
		if s.schedule == ScheduleConstant && s.steps > 0 {
			notes = append(notes, fmt.Sprintf("lr_warmup_steps%s is %d and has no effect with lr_scheduler%s %s: choose %s",
				s.suffix, s.steps, s.suffix, ScheduleConstant, ScheduleConstantWithWarmup))
		}
	}
	return notes
}

// tokens splits the placeholder tokens and what they begin as.
func (o Options) tokens() (names, begin []string, err error) {
	if o.PlaceholderTokens == "" {
		if o.InitializerTokens != "" {
			return nil, nil, errors.New("initializer_tokens is given without placeholder_tokens")
		}
		return nil, nil, nil
	}
	names = strings.Split(o.PlaceholderTokens, "|")
	for _, n := range names {
		if n == "" || strings.ContainsFunc(n, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(n) > 100 {
			return nil, nil, fmt.Errorf("placeholder_tokens is %q; it must be names without spaces, separated by |, such as <s1>|<s2>", o.PlaceholderTokens)
		}
	}
	if !slices.IsSorted(names) {
		sorted := slices.Sorted(slices.Values(names))
		return nil, nil, fmt.Errorf("placeholder_tokens must be in alphabetical order, in which files keep them: %s", strings.Join(sorted, "|"))
	}
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		return nil, nil, fmt.Errorf("placeholder_tokens is %q; no name may be there twice", o.PlaceholderTokens)
	}
	if o.InitializerTokens == "" {
		return names, slices.Repeat([]string{"<rand-0.017>"}, len(names)), nil
	}
	begin = strings.Split(o.InitializerTokens, "|")
	if len(begin) != len(names) {
		return nil, nil, fmt.Errorf("initializer_tokens has %d entries for %d placeholder_tokens; give one each, separated by |", len(begin), len(names))
	}
	for _, b := range begin {
		if _, _, err := parseInitializer(b); err != nil {
			return nil, nil, err
		}
	}
	return names, begin, nil
}

// parseInitializer reads <rand-σ> and <zero>; anything else is a word.
func parseInitializer(s string) (sigma float64, random bool, err error) {
	if s == "<zero>" {
		return 0, true, nil
	}
	if number, ok := strings.CutPrefix(s, "<rand-"); ok {
		number, ok = strings.CutSuffix(number, ">")
		sigma, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || !(sigma >= 0 && sigma <= 100) {
			return 0, false, fmt.Errorf("initializer_tokens has %q; a random start is written <rand-0.017>", s)
		}
		return sigma, true, nil
	}
	if strings.TrimSpace(s) == "" {
		return 0, false, errors.New("initializer_tokens has an empty entry; write a word, <rand-0.017> or <zero>")
	}
	return 0, false, nil
}

func (o Options) captionErrors() (errs []error) {
	t := dataset.Template(o.UseTemplate)
	switch {
	case t != dataset.TemplateNone && t.Sentences() == nil:
		errs = append(errs, fmt.Errorf("use_template is %q; it must be object, style or none", o.UseTemplate))
	case t != dataset.TemplateNone && o.PlaceholderTokens == "":
		errs = append(errs, errors.New("placeholder_tokens is empty, so use_template must be none"))
	}
	if o.PlaceholderTokenAtData != "" {
		if from, to, ok := strings.Cut(o.PlaceholderTokenAtData, "|"); !ok || from == "" || strings.Contains(to, "|") {
			errs = append(errs, fmt.Errorf("placeholder_token_at_data is %q; write X|Y to make Y of X in the captions", o.PlaceholderTokenAtData))
		}
		if t != dataset.TemplateNone {
			errs = append(errs, errors.New("placeholder_token_at_data needs use_template none: a template has no captions of the pictures"))
		}
	}
	if o.CaptionPattern != "" {
		if !strings.Contains(o.CaptionPattern, "{}") {
			errs = append(errs, fmt.Errorf("caption_pattern is %q; it must contain {} for the caption", o.CaptionPattern))
		}
		if t != dataset.TemplateNone {
			errs = append(errs, errors.New("caption_pattern needs use_template none: a template is a pattern already"))
		}
	}
	return errs
}
