package events

import (
	"encoding/json"
	"fmt"
)

// TrainingInput is what a runner reads of a lora-training job, defaults filled in.
type TrainingInput struct {
	InstanceData string `json:"instance_data"`
	Task         string `json:"task"` // face, object, style
	Seed         int64  `json:"seed"`
	Resolution   int    `json:"resolution"` // pixels
	Format       string `json:"format"`     // cloneofsimo, diffusers, kohya
	Base         string `json:"base"`
}

// AdvancedInput is what a runner reads of a lora-advanced-training job, defaults filled in.
type AdvancedInput struct {
	InstanceData           string  `json:"instance_data"`
	Seed                   int64   `json:"seed"`
	Resolution             int     `json:"resolution"` // pixels
	TrainTextEncoder       bool    `json:"train_text_encoder"`
	TrainBatchSize         int     `json:"train_batch_size"`
	GradientAccumulation   int     `json:"gradient_accumulation_steps"`
	GradientCheckpointing  bool    `json:"gradient_checkpointing"`
	ScaleLR                bool    `json:"scale_lr"`
	LRScheduler            string  `json:"lr_scheduler"`
	LRWarmupSteps          int     `json:"lr_warmup_steps"`
	LRSchedulerLora        string  `json:"lr_scheduler_lora"`
	LRWarmupStepsLora      int     `json:"lr_warmup_steps_lora"`
	ClipTIDecay            bool    `json:"clip_ti_decay"`
	ColorJitter            bool    `json:"color_jitter"`
	ContinueInversion      bool    `json:"continue_inversion"`
	ContinueInversionLR    float64 `json:"continue_inversion_lr"`
	InitializerTokens      string  `json:"initializer_tokens"` // "" for none; else separated by |
	LearningRateText       float64 `json:"learning_rate_text"`
	LearningRateTI         float64 `json:"learning_rate_ti"`
	LearningRateUNet       float64 `json:"learning_rate_unet"`
	LoraRank               int     `json:"lora_rank"`
	LoraDropout            float64 `json:"lora_dropout_p"`
	LoraScale              float64 `json:"lora_scale"`
	MaxTrainStepsTI        int     `json:"max_train_steps_ti"`
	MaxTrainStepsTuning    int     `json:"max_train_steps_tuning"`
	PlaceholderTokenAtData string  `json:"placeholder_token_at_data"` // "" or X|Y
	PlaceholderTokens      string  `json:"placeholder_tokens"`        // separated by |
	UseFaceSegmentation    bool    `json:"use_face_segmentation_condition"`
	UseTemplate            string  `json:"use_template"` // object, style, none
	WeightDecayLora        float64 `json:"weight_decay_lora"`
	WeightDecayTI          float64 `json:"weight_decay_ti"`
	Format                 string  `json:"format"`
	Base                   string  `json:"base"`
}

// LoraInput is what a runner reads of a lora job, defaults filled in.
type LoraInput struct {
	Prompt            string  `json:"prompt"`
	NegativePrompt    string  `json:"negative_prompt"`
	Width             int     `json:"width"`  // pixels
	Height            int     `json:"height"` // pixels
	NumOutputs        int     `json:"num_outputs"`
	NumInferenceSteps int     `json:"num_inference_steps"`
	GuidanceScale     float64 `json:"guidance_scale"`
	Image             string  `json:"image"` // "" or a URL
	PromptStrength    float64 `json:"prompt_strength"`
	Scheduler         string  `json:"scheduler"`
	LoraURLs          string  `json:"lora_urls"`   // separated by |
	LoraScales        string  `json:"lora_scales"` // separated by |
	Seed              int64   `json:"seed"`
	Mask              string  `json:"mask"` // "" or a URL
	Base              string  `json:"base"`
}

// DecodeInput reads the job's input into one of the three structs (a pointer), with the defaults of
// the base. The input passed Validate when the job was made; an error means that the base's card
// has changed since, and is a sentence for the job's owner.
func (j *Job) DecodeInput(b BaseLimits, into any) error {
	full := map[string]any{}
	for name, p := range InputSchema(j.Program, b, nil).Input()["properties"].(map[string]any) {
		if d, ok := p.(map[string]any)["default"]; ok {
			full[name] = d
		}
	}
	given, err := ParseObject(j.Input)
	if err != nil {
		return fmt.Errorf("the stored input cannot be read: %w", err)
	}
	for name, v := range given {
		if n, ok := v.(json.Number); ok {
			if i, ok := Integer(n); ok {
				v = i // 512.0 and 5.12e2 are integers too
			}
		}
		full[name] = v
	}
	full["base"] = j.Base
	full["seed"] = j.Seed
	text, err := Marshal(full)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("the input does not fit the base model %q as it is configured now", b.Name)
	}
	return nil
}
