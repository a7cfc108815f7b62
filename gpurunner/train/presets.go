package train

import (
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/base"
)

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

// ForCard returns a task's options on a base model: the preset, at the base's
// resolution, with what the base's card says differently. The empty task is the
// advanced trainer's defaults.
func ForCard(task string, c base.Card) (Options, error) {
	o := Advanced()
	if task == "" {
		o.MaxTrainStepsTI, o.MaxTrainStepsTuning = c.Training.InversionSteps, c.Training.TuningSteps
	} else {
		var err error
		if o, err = Preset(task); err != nil {
			return Options{}, err
		}
	}
	o.Resolution = c.Training.Resolution
	preset := c.Training.Presets[task]
	for _, name := range preset.Names() {
		if err := o.Set(name, preset[name]); err != nil {
			return Options{}, fmt.Errorf("the card of the base %s: presets.%s: %w", c.Name, task, err)
		}
	}
	return o, nil
}

// CheckCard holds the resolution against a base model's limits.
func (o Options) CheckCard(c base.Card) error {
	t := c.Training
	if o.Resolution < t.MinResolution || o.Resolution > t.MaxResolution || o.Resolution%t.ResolutionMultiple != 0 {
		return fmt.Errorf("resolution is %d; the base %s takes multiples of %d from %d to %d", o.Resolution, c.Name, t.ResolutionMultiple, t.MinResolution, t.MaxResolution)
	}
	return nil
}
