package events

import (
	"fmt"
	"strconv"
)

// The inputs of the three models, after replicate/lora-training (cog predict.py and
// train_advanced.py of February 2023) and replicate/lora-inference. Defaults and limits of sizes,
// steps and pixels are the base's.

const maxPrompt = 4000 // characters; CLIP reads 75 tokens, longer prompts are cut with a note in the log

var (
	nonNegative = bound(0)
	schedulers  = []any{"DDIM", "K_EULER", "DPMSolverMultistep", "K_EULER_ANCESTRAL", "PNDM", "KLMS"}
	lrSchedules = []any{"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"}
	loraFormats = []any{"cloneofsimo", "diffusers", "kohya"}
)

var formatField = field{name: "format", kind: "string", def: "cloneofsimo", choices: loraFormats,
	about: "Layout of the file that is made: cloneofsimo (read by this service), diffusers or kohya."}

func zipField() field {
	return field{name: "instance_data", kind: "string", format: "uri", required: true,
		about: "A ZIP file with your training images (JPEG, PNG or WebP). Captions may lie beside them: name.txt for one image, caption.txt for all."}
}

func resolutionField(b BaseLimits) field {
	return field{name: "resolution", kind: "integer", def: b.Resolution, min: bound(float64(b.MinResolution)), max: bound(float64(b.MaxResolution)), multiple: b.ResolutionMultiple,
		about: "Side of the squares that the images are scaled and cropped to, in pixels."}
}

func trainingFields(b BaseLimits) []field {
	return []field{
		zipField(),
		{name: "task", kind: "string", def: "face", choices: []any{"face", "object", "style"}, about: "What the images show: a face, an object or a style. It chooses the preset."},
		{name: "seed", kind: "integer", about: "A seed for reproducible training. Leave it empty for a random one; the log says which."},
		resolutionField(b),
		formatField,
	}
}

func advancedFields(b BaseLimits) []field {
	num := func(name string, def float64, about string) field {
		return field{name: name, kind: "number", def: def, min: nonNegative, about: about}
	}
	count := func(name string, def int, lo, hi float64, about string) field {
		return field{name: name, kind: "integer", def: def, min: bound(lo), max: bound(hi), about: about}
	}
	flag := func(name string, def bool, about string) field {
		return field{name: name, kind: "boolean", def: def, about: about}
	}
	text := func(name string, def any, about string) field {
		return field{name: name, kind: "string", def: def, maxLen: 1000, about: about}
	}
	return []field{
		zipField(),
		{name: "seed", kind: "integer", def: 1337, about: "A seed for reproducible training."},
		resolutionField(b),
		flag("train_text_encoder", true, "Whether to tune the text encoder as well."),
		count("train_batch_size", 1, 1, 64, "Images per step."),
		count("gradient_accumulation_steps", 4, 1, 256, "Batches whose gradients are summed before one update."),
		flag("gradient_checkpointing", false, "Recompute activations in the backward pass: less memory, slower."),
		flag("scale_lr", true, "Multiply the learning rates by accumulation steps times batch size."),
		{name: "lr_scheduler", kind: "string", def: "constant", choices: lrSchedules, about: "Learning rate schedule of the inversion."},
		count("lr_warmup_steps", 0, 0, 100000, "Warm-up steps of the inversion's schedule; constant has none, constant_with_warmup has."),
		{name: "lr_scheduler_lora", kind: "string", def: "constant", choices: lrSchedules, about: "Learning rate schedule of the tuning."},
		count("lr_warmup_steps_lora", 0, 0, 100000, "Warm-up steps of the tuning's schedule; constant has none, constant_with_warmup has."),
		flag("clip_ti_decay", true, "Pull the norm of the trained embeddings towards the vocabulary's."),
		flag("color_jitter", true, "Vary the colours of the images while training."),
		flag("continue_inversion", false, "Train the embeddings during the tuning too."),
		num("continue_inversion_lr", 1e-4, "Learning rate of the embeddings during the tuning."),
		text("initializer_tokens", nil, "What the placeholder tokens begin as, separated by |: words, <rand-0.01> or <zero>. Empty: random."),
		num("learning_rate_text", 1e-5, "Learning rate of the text encoder."),
		num("learning_rate_ti", 5e-4, "Learning rate of the inversion."),
		num("learning_rate_unet", 1e-4, "Learning rate of the U-Net."),
		count("lora_rank", 4, 1, 128, "Rank of the LoRA. Larger ranks hold more detail and make larger files."),
		{name: "lora_dropout_p", kind: "number", def: 0.1, min: nonNegative, max: bound(0.99), about: "Dropout in the LoRA layers."},
		num("lora_scale", 1, "Scale of the LoRA layers while training."),
		count("max_train_steps_ti", b.InversionSteps, 0, 100000, "Steps of the inversion."),
		count("max_train_steps_tuning", b.TuningSteps, 0, 100000, "Steps of the tuning."),
		text("placeholder_token_at_data", nil, "X|Y: X in a caption becomes Y. Needs use_template none."),
		text("placeholder_tokens", "<s1>|<s2>", "Names of the trained tokens, separated by |."),
		flag("use_face_segmentation_condition", false, "Weigh the loss by a mask of the faces."),
		{name: "use_template", kind: "string", def: "object", choices: []any{"object", "style", "none"}, about: "Captions: a template for objects or styles, or none (from file names or .txt files)."},
		num("weight_decay_lora", 0.001, "Weight decay of the LoRA layers."),
		num("weight_decay_ti", 0, "Weight decay of the embeddings."),
		formatField,
	}
}

func loraFields(b BaseLimits) []field {
	var sizes []any
	for _, s := range b.Sizes {
		sizes = append(sizes, s)
	}
	pixels := fmt.Sprintf(" Width times height may be at most %d pixels.", b.MaxPixels)
	return []field{
		{name: "prompt", kind: "string", def: "a photo of <1> riding a horse on mars", maxLen: maxPrompt, about: "What to draw. <1>, <2>, … stand for the concepts of lora_urls, in their order."},
		{name: "negative_prompt", kind: "string", def: "", maxLen: maxPrompt, about: "What not to draw."},
		{name: "width", kind: "integer", def: b.Width, choices: sizes, about: "Width of the image." + pixels},
		{name: "height", kind: "integer", def: b.Height, choices: sizes, about: "Height of the image." + pixels},
		{name: "num_outputs", kind: "integer", def: 1, min: bound(1), max: bound(4), about: "Number of images."},
		{name: "num_inference_steps", kind: "integer", def: b.InferenceSteps, min: bound(1), max: bound(float64(b.MaxInferenceSteps)), about: "Denoising steps."},
		{name: "guidance_scale", kind: "number", def: b.Guidance, min: bound(1), max: bound(20), about: "Scale of the classifier-free guidance."},
		{name: "image", kind: "string", format: "uri", about: "An image to start from. It is scaled to width and height."},
		{name: "prompt_strength", kind: "number", def: 0.8, min: bound(0), max: bound(1), about: "With an image: how much of it to repaint. 1 repaints all."},
		{name: "scheduler", kind: "string", def: b.Scheduler, choices: schedulers, about: "The sampler."},
		{name: "lora_urls", kind: "string", def: "", about: "URLs of trained concepts (.safetensors), separated by |."},
		{name: "lora_scales", kind: "string", def: strconv.FormatFloat(b.LoraScale, 'g', -1, 64), maxLen: 1000, about: "Scales of the concepts, separated by |. One for all, or one each."},
		{name: "seed", kind: "integer", about: "A seed for reproducible images. Leave it empty for a random one; the log says which."},
		{name: "mask", kind: "string", format: "uri", about: "With an image: where to repaint (white) and what to keep (black)."},
	}
}
