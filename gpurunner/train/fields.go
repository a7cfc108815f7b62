package train

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Field describes an option to command lines and forms.
type Field struct {
	Name  string // of the input: "lora_rank"
	Usage string
	// Own marks the options that the trainers of February 2023 did not have.
	Own bool

	ptr func(o *Options) any
}

// Flag is the option's name on a command line: "lora-rank".
func (f Field) Flag() string { return strings.ReplaceAll(f.Name, "_", "-") }

// Kind is the type of its values: "uint64", "int", "float64", "bool" or
// "string".
func (f Field) Kind() string { return fmt.Sprintf("%T", f.Value(new(Options))) }

// Value returns the option's value in o: uint64, int, float64, bool or string.
func (f Field) Value(o *Options) any {
	switch p := f.ptr(o).(type) {
	case *uint64:
		return *p
	case *int:
		return *p
	case *float64:
		return *p
	case *bool:
		return *p
	default:
		return *p.(*string)
	}
}

var fields = []Field{
	{Name: "seed", Usage: "seed of all random numbers", ptr: func(o *Options) any { return &o.Seed }},
	{Name: "resolution", Usage: "side of the squares that pictures are scaled and cropped to, in pixels", ptr: func(o *Options) any { return &o.Resolution }},
	{Name: "train_text_encoder", Usage: "tune the text encoder as well", ptr: func(o *Options) any { return &o.TrainTextEncoder }},
	{Name: "train_batch_size", Usage: "pictures per step", ptr: func(o *Options) any { return &o.TrainBatchSize }},
	{Name: "gradient_accumulation_steps", Usage: "steps of the inversion whose gradients one update sums", ptr: func(o *Options) any { return &o.GradientAccumulationSteps }},
	{Name: "gradient_checkpointing", Usage: "compute activations again in the backward pass: less memory, slower, equal results", ptr: func(o *Options) any { return &o.GradientCheckpointing }},
	{Name: "scale_lr", Usage: "multiply the learning rates by accumulation steps times batch size", ptr: func(o *Options) any { return &o.ScaleLR }},
	{Name: "lr_scheduler", Usage: "learning rate schedule of the inversion", ptr: func(o *Options) any { return &o.LRScheduler }},
	{Name: "lr_warmup_steps", Usage: "warm-up steps of that schedule; constant has none, constant_with_warmup has", ptr: func(o *Options) any { return &o.LRWarmupSteps }},
	{Name: "lr_scheduler_lora", Usage: "learning rate schedule of the tuning", ptr: func(o *Options) any { return &o.LRSchedulerLoRA }},
	{Name: "lr_warmup_steps_lora", Usage: "warm-up steps of that schedule; constant has none, constant_with_warmup has", ptr: func(o *Options) any { return &o.LRWarmupStepsLoRA }},
	{Name: "learning_rate_text", Usage: "learning rate of the text encoder's adapters", ptr: func(o *Options) any { return &o.LearningRateText }},
	{Name: "learning_rate_ti", Usage: "learning rate of the embeddings in the inversion", ptr: func(o *Options) any { return &o.LearningRateTI }},
	{Name: "learning_rate_unet", Usage: "learning rate of the UNet's adapters", ptr: func(o *Options) any { return &o.LearningRateUNet }},
	{Name: "clip_ti_decay", Usage: "pull the norm of the embeddings towards 0.4, the vocabulary's", ptr: func(o *Options) any { return &o.ClipTIDecay }},
	{Name: "continue_inversion", Usage: "train the embeddings during the tuning too", ptr: func(o *Options) any { return &o.ContinueInversion }},
	{Name: "continue_inversion_lr", Usage: "their learning rate there, taken as it is whatever scale_lr says", ptr: func(o *Options) any { return &o.ContinueInversionLR }},
	{Name: "weight_decay_lora", Usage: "weight decay of the adapters", ptr: func(o *Options) any { return &o.WeightDecayLoRA }},
	{Name: "weight_decay_ti", Usage: "weight decay of the embeddings", ptr: func(o *Options) any { return &o.WeightDecayTI }},
	{Name: "max_train_steps_ti", Usage: "steps of the inversion", ptr: func(o *Options) any { return &o.MaxTrainStepsTI }},
	{Name: "max_train_steps_tuning", Usage: "steps of the tuning", ptr: func(o *Options) any { return &o.MaxTrainStepsTuning }},
	{Name: "lora_rank", Usage: "rank of the adapters: more holds more detail in a larger file", ptr: func(o *Options) any { return &o.LoRARank }},
	{Name: "lora_dropout_p", Usage: "dropout in the UNet's adapters", ptr: func(o *Options) any { return &o.LoRADropoutP }},
	{Name: "lora_scale", Usage: "scale of the UNet's adapters while training; it is multiplied into the file", ptr: func(o *Options) any { return &o.LoRAScale }},
	{Name: "placeholder_tokens", Usage: "names of the trained tokens, separated by |", ptr: func(o *Options) any { return &o.PlaceholderTokens }},
	{Name: "initializer_tokens", Usage: "what they begin as, separated by |: words, <rand-0.01> or <zero>; empty: <rand-0.017>", ptr: func(o *Options) any { return &o.InitializerTokens }},
	{Name: "placeholder_token_at_data", Usage: "X|Y: X in a caption becomes Y; needs use_template none", ptr: func(o *Options) any { return &o.PlaceholderTokenAtData }},
	{Name: "use_template", Usage: "captions: object or style sentences, or none for those of the pictures", ptr: func(o *Options) any { return &o.UseTemplate }},
	{Name: "color_jitter", Usage: "vary brightness and contrast of the pictures", ptr: func(o *Options) any { return &o.ColorJitter }},
	{Name: "use_face_segmentation_condition", Usage: "weigh the loss by a mask of the faces", ptr: func(o *Options) any { return &o.UseFaceSegmentationCondition }},

	{Own: true, Name: "method", Usage: "lora, or dreambooth to train every weight of the UNet", ptr: func(o *Options) any { return &o.Method }},
	{Own: true, Name: "lora_targets", Usage: "default (attention and GEGLU) or extended (residual blocks too)", ptr: func(o *Options) any { return &o.LoRATargets }},
	{Own: true, Name: "h_flip", Usage: "mirror every other picture", ptr: func(o *Options) any { return &o.HorizontalFlip }},
	{Own: true, Name: "mask_temperature", Usage: "power of the mask: above 1 sharpens it, 0 is no mask", ptr: func(o *Options) any { return &o.MaskTemperature }},
	{Own: true, Name: "normalize_mask", Usage: "divide a masked loss by the sum of its mask, so that a small face counts as much as a large one", ptr: func(o *Options) any { return &o.NormalizeMask }},
	{Own: true, Name: "caption_pattern", Usage: "sentence around a picture's own caption: {} stands for the caption, {concept} for the tokens", ptr: func(o *Options) any { return &o.CaptionPattern }},
	{Own: true, Name: "cached_latents", Usage: "encode each picture once, without colour jitter: faster", ptr: func(o *Options) any { return &o.CachedLatents }},
	{Own: true, Name: "aspect_buckets", Usage: "crop to the nearest of several aspect ratios instead of squares", ptr: func(o *Options) any { return &o.AspectBuckets }},
	{Own: true, Name: "min_snr_gamma", Usage: "weigh timesteps by min(snr, gamma)/snr; 5 is usual, 0 is off", ptr: func(o *Options) any { return &o.MinSNRGamma }},
	{Own: true, Name: "noise_offset", Usage: "add this much noise that is constant over the picture; 0.05 to 0.1 is usual, 0 is off", ptr: func(o *Options) any { return &o.NoiseOffset }},
	{Own: true, Name: "class_data", Usage: "zip or folder of pictures of the class, for prior preservation", ptr: func(o *Options) any { return &o.ClassData }},
	{Own: true, Name: "class_prompt", Usage: "prompt of the class pictures", ptr: func(o *Options) any { return &o.ClassPrompt }},
	{Own: true, Name: "prior_loss_weight", Usage: "weight of their loss", ptr: func(o *Options) any { return &o.PriorLossWeight }},
	{Own: true, Name: "validation_images", Usage: "pictures that are held out to measure a validation loss", ptr: func(o *Options) any { return &o.ValidationImages }},
	{Own: true, Name: "validation_every", Usage: "steps between two measurements of it", ptr: func(o *Options) any { return &o.ValidationEvery }},
	{Own: true, Name: "max_grad_norm", Usage: "norm to which gradients are clipped in the tuning", ptr: func(o *Options) any { return &o.MaxGradNorm }},
	{Own: true, Name: "timestep_limit", Usage: "part of the noise levels that the tuning sees, from the cleanest", ptr: func(o *Options) any { return &o.TimestepLimit }},
}

// Fields lists all options, those of February 2023 first.
func Fields() []Field { return slices.Clone(fields) }

// Set gives the option called name (lora_rank or lora-rank) a value: a number,
// a boolean, or text that is parsed for it. Ranges are checked by Validate. A
// template takes the place of a caption_pattern that was set before.
func (o *Options) Set(name string, value any) error {
	name = strings.ReplaceAll(name, "-", "_")
	for _, f := range fields {
		if f.Name == name {
			if err := assign(f.ptr(o), value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if name == "use_template" && o.UseTemplate != "none" {
				o.CaptionPattern = "" // a preset's; see Validate
			}
			return nil
		}
	}
	return fmt.Errorf("there is no option %q", name)
}

func assign(ptr, value any) error {
	switch v := value.(type) {
	case string:
		return assignText(ptr, v)
	case json.Number:
		return assignText(ptr, v.String())
	case bool:
		if p, ok := ptr.(*bool); ok {
			*p = v
			return nil
		}
	case int:
		return assignNumber(ptr, float64(v))
	case int64:
		return assignNumber(ptr, float64(v))
	case float64:
		return assignNumber(ptr, v)
	case uint64:
		if p, ok := ptr.(*uint64); ok {
			*p = v
			return nil
		}
		return assignNumber(ptr, float64(v))
	case nil: // JSON's null: as it is
		return nil
	}
	return fmt.Errorf("%v is %s, want %s", value, kindOf(value), kindOf(ptr))
}

func assignNumber(ptr any, v float64) error {
	switch p := ptr.(type) {
	case *float64:
		*p = v
		return nil
	case *int:
		if v == math.Trunc(v) && math.Abs(v) < 1<<31 {
			*p = int(v)
			return nil
		}
	case *uint64:
		if v == math.Trunc(v) && v >= 0 && v < 1<<53 {
			*p = uint64(v)
			return nil
		}
	}
	return fmt.Errorf("%v does not fit; want %s", v, kindOf(ptr))
}

func assignText(ptr any, v string) error {
	var err error
	switch p := ptr.(type) {
	case *string:
		*p = v
	case *bool:
		*p, err = strconv.ParseBool(v)
	case *int:
		*p, err = strconv.Atoi(v)
	case *float64:
		*p, err = strconv.ParseFloat(v, 64)
	case *uint64:
		*p, err = strconv.ParseUint(v, 10, 64)
	}
	if err != nil {
		return fmt.Errorf("%q does not fit; want %s", v, kindOf(ptr))
	}
	return nil
}

func kindOf(v any) string {
	switch v.(type) {
	case bool, *bool:
		return "true or false"
	case *int, int, int64:
		return "a whole number"
	case *uint64, uint64:
		return "a whole number from 0 on"
	case float64, *float64:
		return "a number"
	case string, *string:
		return "text"
	}
	return fmt.Sprintf("%T", v)
}
