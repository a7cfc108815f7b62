package train

import "fmt"

// The tasks of replicate/lora-training.
const (
	TaskFace   = "face"
	TaskObject = "object"
	TaskStyle  = "style"
)

// Tasks lists the names of the presets.
func Tasks() []string { return []string{TaskFace, TaskObject, TaskStyle} }

// Preset returns a task's options, those of github.com/replicate/lora-training
// (commit 2936a33). A base model's card may change some of them with Set.
func Preset(task string) (Options, error) {
	o := Advanced()
	o.GradientAccumulationSteps = 2
	o.LearningRateUNet = 2e-4
	o.MaxTrainStepsTI, o.MaxTrainStepsTuning = 700, 700
	switch task {
	case TaskFace:
		o.LoRARank, o.UseFaceSegmentationCondition = 16, true
	case TaskObject:
		o.LoRARank = 8
	case TaskStyle:
		o.LoRARank, o.UseTemplate = 16, "style"
	default:
		return Options{}, fmt.Errorf("task is %q; it must be face, object or style", task)
	}
	return o, nil
}
