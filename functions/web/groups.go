package web

import "github.com/lowrank/lowrank/events"

// groupPlan is which inputs stand together, in which order.
type groupPlan struct {
	title, about string
	fields       []string
}

// groupPlans are how the forms are arranged. A test holds that they name no input that is not there.
var groupPlans = map[events.Program][]groupPlan{
	events.ProgramLora: {
		{fields: []string{"prompt", "lora_urls", "width", "height", "num_outputs"}},
		{title: "How it is drawn", about: "steps, guidance, sampler, seed", fields: []string{"negative_prompt", "num_inference_steps", "guidance_scale", "scheduler", "seed", "base"}},
		{title: "Start from a picture", about: "image to image, inpainting", fields: []string{"image", "prompt_strength", "mask"}},
	},
	events.ProgramTraining: {
		{fields: []string{"instance_data", "task"}},
		{title: "More options", about: "resolution, seed, file format", fields: []string{"resolution", "seed", "format", "base"}},
	},
	events.ProgramAdvancedTraining: {
		{fields: []string{"instance_data", "use_template", "max_train_steps_ti", "max_train_steps_tuning"}},
		{title: "Pictures", about: "resolution, colours, faces", fields: []string{"resolution", "color_jitter", "use_face_segmentation_condition"}},
		{title: "Tokens", about: "what the concept is called", fields: []string{"placeholder_tokens", "initializer_tokens", "placeholder_token_at_data", "clip_ti_decay"}},
		{title: "LoRA", about: "rank, scale, dropout", fields: []string{"lora_rank", "lora_scale", "lora_dropout_p", "weight_decay_lora", "train_text_encoder"}},
		{title: "Learning rates", about: "of embeddings, U-Net and text encoder", fields: []string{"learning_rate_ti", "learning_rate_unet", "learning_rate_text", "scale_lr", "continue_inversion", "continue_inversion_lr", "weight_decay_ti"}},
		{title: "Batches and memory", about: "batch size, accumulation", fields: []string{"train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing"}},
		{title: "Schedules", about: "of the learning rates", fields: []string{"lr_scheduler", "lr_warmup_steps", "lr_scheduler_lora", "lr_warmup_steps_lora"}},
		{title: "Seed and file", about: "seed, layout, base model", fields: []string{"seed", "format", "base"}},
	},
}

// labels are inputs' names for people, where the schema's title does not say enough. The API's name stands
// beside each.
var labels = map[string]string{
	"prompt": "Prompt", "negative_prompt": "Not in the picture", "lora_urls": "Concepts", "lora_scales": "Scales",
	"num_outputs": "Pictures", "num_inference_steps": "Steps", "guidance_scale": "Guidance", "scheduler": "Sampler",
	"image": "Picture to start from", "prompt_strength": "How much to repaint", "mask": "Mask", "seed": "Seed", "base": "Base model",
	"instance_data": "Training pictures", "task": "What the pictures show", "format": "File layout", "resolution": "Resolution",
	"train_text_encoder": "Tune the text encoder", "train_batch_size": "Batch size", "gradient_accumulation_steps": "Gradient accumulation",
	"gradient_checkpointing": "Gradient checkpointing", "scale_lr": "Scale the learning rates", "lr_scheduler": "Schedule of the inversion",
	"lr_warmup_steps": "Warm-up of the inversion", "lr_scheduler_lora": "Schedule of the tuning", "lr_warmup_steps_lora": "Warm-up of the tuning",
	"clip_ti_decay": "Norm decay", "color_jitter": "Colour jitter", "continue_inversion": "Continue the inversion",
	"continue_inversion_lr": "Learning rate of the continued inversion", "initializer_tokens": "Initial tokens",
	"learning_rate_text": "Learning rate, text encoder", "learning_rate_ti": "Learning rate, inversion", "learning_rate_unet": "Learning rate, U-Net",
	"lora_rank": "Rank", "lora_dropout_p": "Dropout", "lora_scale": "Scale in training", "max_train_steps_ti": "Inversion steps",
	"max_train_steps_tuning": "Tuning steps", "placeholder_token_at_data": "Replace in captions", "placeholder_tokens": "Placeholder tokens",
	"use_face_segmentation_condition": "Look at faces only", "use_template": "Captions", "weight_decay_lora": "Weight decay, LoRA",
	"weight_decay_ti": "Weight decay, inversion",
}
