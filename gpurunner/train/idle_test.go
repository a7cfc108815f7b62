package train

import (
	"slices"
	"testing"
)

func TestIdle(t *testing.T) {
	all := func(string) bool { return true }
	for _, tt := range []struct {
		name  string
		set   func(o *Options)
		given func(string) bool
		want  []string
	}{
		{"NotGiven", func(*Options) {}, func(string) bool { return false }, nil},
		{"Given", func(*Options) {}, func(name string) bool { return name == "prior_loss_weight" }, []string{"prior_loss_weight has no effect without class_data"}},
		{"AtWork", func(o *Options) {
			o.ColorJitter, o.CachedLatents, o.UseFaceSegmentationCondition, o.ClassData, o.ValidationImages = true, false, true, "x.zip", 2
			o.ContinueInversion, o.TrainTextEncoder, o.MaxTrainStepsTI, o.LRScheduler, o.LRSchedulerLoRA = true, true, 5, "linear", "constant_with_warmup"
		}, all, nil},
		{"Jitter", func(o *Options) { o.ColorJitter, o.CachedLatents = true, true }, func(name string) bool { return name == "color_jitter" },
			[]string{"color_jitter has no effect with cached_latents, which keeps each picture as it is"}},
		{"DreamBooth", func(o *Options) { o.Method, o.TrainTextEncoder = MethodDreamBooth, false }, func(name string) bool { return name == "lora_rank" || name == "lora_scale" },
			[]string{"lora_rank has no effect when the whole UNet is trained, and no text encoder", "lora_scale has no effect when the whole UNet is trained"}},
		{"DreamBoothText", func(o *Options) { o.Method, o.TrainTextEncoder = MethodDreamBooth, true }, func(name string) bool { return name == "lora_rank" }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Advanced()
			tt.set(&o)
			if got := o.Idle(tt.given); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	o := Advanced()
	o.Method, o.ColorJitter, o.CachedLatents, o.TrainTextEncoder, o.MaxTrainStepsTI = MethodDreamBooth, true, true, false, 0
	asked := 0
	o.Idle(func(name string) bool {
		asked++
		if !slices.ContainsFunc(Fields(), func(f Field) bool { return f.Name == name }) {
			t.Errorf("%s is no option", name)
		}
		return true
	})
	if asked < 12 {
		t.Errorf("%d options may be without effect, want all that can be", asked)
	}
}
