package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// The methods of training.
const (
	MethodLoRA       = "lora"       // inversion, then low-rank adapters
	MethodDreamBooth = "dreambooth" // inversion, then every weight of the UNet
)

// What carries adapters.
const (
	TargetsDefault  = "default"  // attention and GEGLU projections
	TargetsExtended = "extended" // and the residual blocks' layers
)

// Options are the inputs of the trainers: first those of February 2023 under
// their names, then this project's own, all of which are off by default.
// [Fields] describes each; JSON names are the inputs' names.
type Options struct {
	Seed       uint64 `json:"seed"`
	Resolution int    `json:"resolution"` // pixels

	TrainTextEncoder          bool `json:"train_text_encoder"`
	TrainBatchSize            int  `json:"train_batch_size"`
	GradientAccumulationSteps int  `json:"gradient_accumulation_steps"`
	GradientCheckpointing     bool `json:"gradient_checkpointing"`

	ScaleLR             bool    `json:"scale_lr"`
	LRScheduler         string  `json:"lr_scheduler"`
	LRWarmupSteps       int     `json:"lr_warmup_steps"`
	LRSchedulerLoRA     string  `json:"lr_scheduler_lora"`
	LRWarmupStepsLoRA   int     `json:"lr_warmup_steps_lora"`
	LearningRateText    float64 `json:"learning_rate_text"`
	LearningRateTI      float64 `json:"learning_rate_ti"`
	LearningRateUNet    float64 `json:"learning_rate_unet"`
	ClipTIDecay         bool    `json:"clip_ti_decay"`
	ContinueInversion   bool    `json:"continue_inversion"`
	ContinueInversionLR float64 `json:"continue_inversion_lr"`
	WeightDecayLoRA     float64 `json:"weight_decay_lora"`
	WeightDecayTI       float64 `json:"weight_decay_ti"`

	MaxTrainStepsTI     int `json:"max_train_steps_ti"`
	MaxTrainStepsTuning int `json:"max_train_steps_tuning"`

	LoRARank     int     `json:"lora_rank"`
	LoRADropoutP float64 `json:"lora_dropout_p"`
	LoRAScale    float64 `json:"lora_scale"`

	PlaceholderTokens      string `json:"placeholder_tokens"`
	InitializerTokens      string `json:"initializer_tokens"`
	PlaceholderTokenAtData string `json:"placeholder_token_at_data"`
	UseTemplate            string `json:"use_template"`

	ColorJitter                  bool `json:"color_jitter"`
	UseFaceSegmentationCondition bool `json:"use_face_segmentation_condition"`

	// This project's own.

	Method           string  `json:"method"`
	LoRATargets      string  `json:"lora_targets"`
	HorizontalFlip   bool    `json:"h_flip"`           // on by default: the original always mirrors
	MaskTemperature  float64 `json:"mask_temperature"` // 1 by default
	NormalizeMask    bool    `json:"normalize_mask"`
	CaptionPattern   string  `json:"caption_pattern"`
	CachedLatents    bool    `json:"cached_latents"`
	AspectBuckets    bool    `json:"aspect_buckets"`
	MinSNRGamma      float64 `json:"min_snr_gamma"`
	NoiseOffset      float64 `json:"noise_offset"`
	ClassData        string  `json:"class_data"`
	ClassPrompt      string  `json:"class_prompt"`
	PriorLossWeight  float64 `json:"prior_loss_weight"`
	ValidationImages int     `json:"validation_images"`
	ValidationEvery  int     `json:"validation_every"`
	MaxGradNorm      float64 `json:"max_grad_norm"`
	TimestepLimit    float64 `json:"timestep_limit"` // of tuning, as a part of the whole
}

// Hash identifies everything that decides what a run computes: a checkpoint
// goes on only under the options it was made with.
func (o Options) Hash() string {
	o.ClassData = "" // the class pictures count by what they show
	b, err := json.Marshal(o)
	if err != nil {
		panic("train: options that are no JSON: " + err.Error()) // NaN is refused by Validate
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Advanced returns the defaults of replicate/lora-advanced-training.
func Advanced() Options {
	return Options{
		Seed: 1337, Resolution: 512,
		TrainTextEncoder: true, TrainBatchSize: 1, GradientAccumulationSteps: 4,
		ScaleLR: true, LRScheduler: ScheduleConstant, LRSchedulerLoRA: ScheduleConstant,
		LearningRateText: 1e-5, LearningRateTI: 5e-4, LearningRateUNet: 1e-4,
		ClipTIDecay: true, ContinueInversionLR: 1e-4, WeightDecayLoRA: 0.001,
		MaxTrainStepsTI: 500, MaxTrainStepsTuning: 1000,
		LoRARank: 4, LoRADropoutP: 0.1, LoRAScale: 1,
		PlaceholderTokens: "<s1>|<s2>", UseTemplate: "object", ColorJitter: true,

		Method: MethodLoRA, LoRATargets: TargetsDefault, HorizontalFlip: true, MaskTemperature: 1,
		PriorLossWeight: 1, ValidationEvery: 50, MaxGradNorm: 1, TimestepLimit: 0.8,
	}
}
