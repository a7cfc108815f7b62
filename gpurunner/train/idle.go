package train

import "fmt"

// Idle says which options have no effect beside the others, a sentence each.
// given reports which were chosen by somebody: of the rest nobody needs to know.
// A warm-up that the schedule does not have is noted by the run itself.
func (o Options) Idle(given func(name string) bool) []string {
	full := o.Method == MethodDreamBooth
	var idle []string
	for _, c := range []struct {
		name string
		idle bool
		why  string
	}{
		{"color_jitter", o.ColorJitter && o.CachedLatents, "with cached_latents, which keeps each picture as it is"},
		{"mask_temperature", !o.UseFaceSegmentationCondition, "without use_face_segmentation_condition"},
		{"normalize_mask", !o.UseFaceSegmentationCondition, "without use_face_segmentation_condition"},
		{"prior_loss_weight", o.ClassData == "", "without class_data"},
		{"validation_every", o.ValidationImages == 0, "without validation_images"},
		{"continue_inversion_lr", !o.ContinueInversion, "without continue_inversion"},
		{"learning_rate_text", !o.TrainTextEncoder, "without train_text_encoder"},
		{"learning_rate_ti", o.MaxTrainStepsTI == 0, "when max_train_steps_ti is 0"},
		{"lr_scheduler", o.MaxTrainStepsTI == 0, "when max_train_steps_ti is 0"},
		{"lora_rank", full && !o.TrainTextEncoder, "when the whole UNet is trained, and no text encoder"},
		{"lora_targets", full, "when the whole UNet is trained"},
		{"lora_dropout_p", full, "when the whole UNet is trained"},
		{"lora_scale", full, "when the whole UNet is trained"},
	} {
		if c.idle && given(c.name) {
			idle = append(idle, fmt.Sprintf("%s has no effect %s", c.name, c.why))
		}
	}
	return idle
}
