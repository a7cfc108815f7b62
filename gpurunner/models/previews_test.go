package models

import (
	"slices"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/train"
)

func TestPreviewMoments(t *testing.T) {
	for _, c := range []struct {
		name                string
		batch, steps, evals int
		want                []int
	}{
		{"Object", 4, 600, 20, []int{150, 300, 450, 600}},
		{"StableDiffusion", 1, 1500, 20, []int{375, 750, 1125, 1500}},
		{"Advanced", 1, 900, 20, []int{450, 900}},
		{"Uneven", 4, 601, 20, []int{150, 300, 450, 601}},
		{"TooShort", 1, 100, 20, nil},
		{"NoSteps", 4, 0, 20, nil},
		{"NoEvaluations", 4, 100, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := previewMoments(train.Options{TrainBatchSize: c.batch}, c.steps, c.evals)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if work := float64(len(got)*2*c.evals) / max(1, float64(3*c.batch*c.steps)); work > previewShare {
				t.Errorf("previews are %.3f of the work", work)
			}
		})
	}
}

// TestPreviewPrompt holds the prompts to what the tasks of the embedded base are.
func TestPreviewPrompt(t *testing.T) {
	b, err := base.Open(embedded.Name, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for task, want := range map[string]string{
		train.TaskStyle: "a cat in the style of <a>", train.TaskObject: "a photo of <a>", train.TaskFace: "a photo of <a>", "": "a photo of <a>",
	} {
		o, err := train.ForCard(task, b.Card)
		if err != nil {
			t.Fatal(err)
		}
		if got := previewPrompt(o, "<a>"); got != want {
			t.Errorf("%s: got %q", task, got)
		}
	}
}
