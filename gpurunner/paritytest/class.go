package paritytest

import "strings"

// class says how the files of one kind are cut into cases, which of their tensors and numbers are expected
// outputs, and how exactly each must be met. Names of tensors are without the case's prefix.
type class struct {
	// glob finds the .safetensors files, as a slash path below a root.
	glob string
	// skip leaves files out that the glob finds and another class owns.
	skip func(base string) bool
	// prefixes cuts a file into several cases by how the names of its tensors begin, the dot left out. nil: the
	// file is one case.
	prefixes func(f *file, meta map[string]any) []string
	// meta is the part of the .json beside the file that belongs to a prefix. nil: all of it.
	meta func(meta map[string]any, prefix string) map[string]any
	// shared reports whether a tensor of a file that is cut belongs to no case: an input of all of them.
	shared func(name string) bool
	// input reports whether a tensor is given, not expected.
	input func(name string) bool
	// numbers reports whether a number, or list of numbers, at a path of the .json is expected. nil: none.
	numbers func(path []string) bool
	// tolerance of an output: a tensor's name, or the path of a number joined by dots.
	tolerance func(c *Case, name string) Tolerance
}

func begins(prefixes ...string) func(string) bool {
	return func(name string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
		return false
	}
}

func always(tol Tolerance) func(*Case, string) Tolerance {
	return func(*Case, string) Tolerance { return tol }
}

var classes = map[string]class{
	"clip": {glob: "clip/*.safetensors", input: begins("input_ids"), tolerance: always(tolClip)},
	"unet": {glob: "unet/*.safetensors", input: begins("in."), tolerance: always(tolUNet)},
	"vae":  {glob: "vae/*.safetensors", input: begins("in."), tolerance: always(tolVAE)},
	"grad": {
		glob:      "grad/*.safetensors",
		skip:      func(base string) bool { return base == "ops" },
		input:     begins("in.", "lora."),
		numbers:   gradNumbers,
		tolerance: gradTolerance,
	},
	"ops": {
		glob:      "grad/ops.safetensors",
		prefixes:  func(_ *file, meta map[string]any) []string { return keys(meta) },
		meta:      func(meta map[string]any, prefix string) map[string]any { return object(meta, prefix) },
		input:     opsInput,
		numbers:   func(path []string) bool { return path[0] == "total_norms" },
		tolerance: opsTolerance,
	},
	"schedulers": {
		glob:      "schedulers/*.safetensors",
		prefixes:  schedulerCases,
		meta:      func(meta map[string]any, prefix string) map[string]any { return object(meta, "cases", prefix) },
		shared:    begins("init", "img2img."),
		input:     schedulerInput,
		numbers:   schedulerNumbers,
		tolerance: schedulerTolerance,
	},
	"pipelines": {
		glob:      "pipelines/*.safetensors",
		input:     begins("in.", "noise."),
		numbers:   func(path []string) bool { return path[0] == "timesteps" },
		tolerance: pipelineTolerance,
	},
	"pipelines/original": {
		glob:      "pipelines/original/*.safetensors",
		input:     begins("in.", "noise."),
		numbers:   func(path []string) bool { return path[0] == "callback_timesteps" },
		tolerance: pipelineTolerance,
	},
	"lora/effect": {
		glob:      "lora/effect.safetensors",
		prefixes:  func(f *file, _ map[string]any) []string { return f.before(".unet_out") },
		shared:    func(name string) bool { return strings.HasSuffix(name, ".input_ids") },
		input:     begins("input_ids"),
		tolerance: loraTolerance,
	},
	"lora/join": {glob: "lora/join.safetensors", input: begins("input_ids"), tolerance: loraTolerance},
	"train": {
		glob:      "train/*/record.safetensors",
		input:     trainInput,
		numbers:   trainNumbers,
		tolerance: trainTolerance,
	},
	"imageops": {
		glob:      "imageops/expected.safetensors",
		prefixes:  func(_ *file, meta map[string]any) []string { return keys(object(meta, "files")) },
		meta:      func(meta map[string]any, prefix string) map[string]any { return object(meta, "files", prefix) },
		input:     func(string) bool { return false },
		tolerance: pictureTolerance,
	},
}

func opsInput(name string) bool {
	if strings.HasPrefix(name, "step") { // adamw.step3.grad.b
		return strings.Contains(name, ".grad.")
	}
	return begins("in.", "upstream", "init.")(name)
}

func opsTolerance(c *Case, name string) Tolerance {
	if c.Prefix == "resnet_block" && (name == "grad.c1b" || name == "grad.tb") {
		return tolOpsCancelled
	}
	return tolOps
}

func gradNumbers(path []string) bool {
	switch path[0] {
	case "loss", "lora_grad_norm", "lora_grad_total_norm", "full_weight_grad_norm_and_sum", "token_embedding_grad_norm_all_rows":
		return true
	}
	return false
}

func gradTolerance(_ *Case, name string) Tolerance {
	switch {
	case name == "out.unet_input":
		return tolScheduler
	case name == "out.pred":
		return tolUNet
	case name == "out.loss" || name == "loss":
		return tolLoss
	case name == "grad.placeholder_rows":
		return tolRowGradient
	case strings.HasPrefix(name, "grad."):
		return tolGradient
	}
	return tolGradientNorm
}

// schedulerCases are the entries of the .json that hold no error (that of a stack that lacks the class), and the
// training side.
func schedulerCases(_ *file, meta map[string]any) []string {
	var names []string
	for _, name := range keys(object(meta, "cases")) {
		if object(meta, "cases", name)["error"] == nil {
			names = append(names, name)
		}
	}
	return append(names, "train", "alphas_cumprod")
}

func schedulerInput(name string) bool {
	switch name {
	case "noise", "img2img.noise", "timesteps", "latents":
		return true
	}
	return false
}

func schedulerNumbers(path []string) bool {
	last := path[len(path)-1]
	return last == "timesteps" || last == "sigmas" || last == "init_noise_sigma" || last == "t_start"
}

func schedulerTolerance(_ *Case, name string) Tolerance {
	if strings.HasSuffix(name, "timesteps") {
		return tolTimesteps
	}
	return tolScheduler
}

func pipelineTolerance(c *Case, name string) Tolerance {
	switch {
	case name == "out.step_latents" && strings.HasPrefix(c.Base, "inpaint.") && strings.Contains(c.Model(), "inpaint"):
		return tolInpainting
	case name == "out.image":
		return tolPicture
	case strings.HasSuffix(name, "timesteps"):
		return tolTimesteps
	}
	return tolLatents
}

func loraTolerance(_ *Case, name string) Tolerance {
	if strings.HasPrefix(name, "merged.") {
		return tolMerged
	}
	return tolLoRAOutput
}

// trainInput: what the original drew or read is given; what it computed from that is expected.
func trainInput(name string) bool {
	switch {
	case strings.HasSuffix(name, ".placeholder_grad"), strings.Contains(name, ".after."), strings.HasPrefix(name, "final."):
		return false
	case strings.HasSuffix(name, ".placeholder_rows"):
		return strings.HasPrefix(name, "init.")
	case strings.HasPrefix(name, "tuning.") && strings.Contains(name, ".grad."):
		return false
	case strings.HasPrefix(name, "cache.") && strings.HasSuffix(name, ".latents"):
		return false
	}
	return true
}

// trainNumbers: steps.<i>.loss and the like.
func trainNumbers(path []string) bool {
	if len(path) != 3 || path[0] != "steps" {
		return false
	}
	switch path[2] {
	case "loss", "lr", "total_norm", "left_over_embedding_grad_norm":
		return true
	}
	return false
}

func trainTolerance(_ *Case, name string) Tolerance {
	switch {
	case strings.HasSuffix(name, ".loss"):
		return tolTrainLoss
	case strings.HasSuffix(name, "placeholder_rows"):
		return tolTrainRows
	case strings.HasSuffix(name, ".placeholder_grad"):
		return tolRowGradient
	case strings.HasPrefix(name, "cache."):
		return tolVAE
	case strings.HasPrefix(name, "steps."):
		return tolTrainNorm
	case strings.HasPrefix(name, "tuning.") && strings.Contains(name, ".grad."):
		return tolGradient
	}
	return tolTrainWeight
}

// pictureTolerance: exact, but for what two JPEG decoders may do differently.
func pictureTolerance(c *Case, name string) Tolerance {
	if name == "tensor" {
		return tolPictureTensor
	}
	if strings.HasSuffix(c.Prefix, ".jpg") || strings.HasSuffix(c.Prefix, ".jpeg") {
		return tolJPEG
	}
	return tolExact
}
