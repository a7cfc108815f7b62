package train

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/lora"
)

func TestPresets(t *testing.T) {
	tests := []struct {
		task       string
		rank       int
		template   string
		mask       bool
		accumulate int
		unet       float64
		ti, tuning int
	}{
		{"face", 16, "object", true, 2, 2e-4, 700, 700},
		{"object", 8, "object", false, 2, 2e-4, 700, 700},
		{"style", 16, "style", false, 2, 2e-4, 700, 700},
	}
	for _, tt := range tests {
		t.Run(tt.task, func(t *testing.T) {
			o, err := Preset(tt.task)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Validate(); err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(o.LoRARank, o.UseTemplate, o.UseFaceSegmentationCondition, o.GradientAccumulationSteps, o.LearningRateUNet, o.MaxTrainStepsTI, o.MaxTrainStepsTuning)
			want := fmt.Sprint(tt.rank, tt.template, tt.mask, tt.accumulate, tt.unet, tt.ti, tt.tuning)
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			// What the three presets share.
			common := fmt.Sprintln(o.TrainTextEncoder, o.TrainBatchSize, o.ScaleLR, o.LRScheduler, o.LRSchedulerLoRA, o.LRWarmupSteps, o.LRWarmupStepsLoRA,
				o.ClipTIDecay, o.ColorJitter, o.ContinueInversion, o.LearningRateText, o.LearningRateTI, o.PlaceholderTokens, o.LoRADropoutP, o.LoRAScale,
				o.WeightDecayLoRA, o.WeightDecayTI, o.Resolution, o.InitializerTokens)
			if want := "true 1 true constant constant 0 0 true true false 1e-05 0.0005 <s1>|<s2> 0.1 1 0.001 0 512 \n"; common != want {
				t.Errorf("got %s, want %s", common, want)
			}
		})
	}
	if _, err := Preset("dog"); err == nil {
		t.Error("a task that is none was taken")
	}
}

func TestAdvancedDefaults(t *testing.T) {
	want := map[string]any{
		"seed": uint64(1337), "resolution": 512, "train_text_encoder": true, "train_batch_size": 1, "gradient_accumulation_steps": 4,
		"gradient_checkpointing": false, "scale_lr": true, "lr_scheduler": "constant", "lr_scheduler_lora": "constant", "lr_warmup_steps": 0,
		"lr_warmup_steps_lora": 0, "clip_ti_decay": true, "color_jitter": true, "continue_inversion": false, "continue_inversion_lr": 1e-4,
		"initializer_tokens": "", "learning_rate_text": 1e-5, "learning_rate_ti": 5e-4, "learning_rate_unet": 1e-4, "lora_rank": 4,
		"lora_dropout_p": 0.1, "lora_scale": 1.0, "max_train_steps_ti": 500, "max_train_steps_tuning": 1000, "placeholder_token_at_data": "",
		"placeholder_tokens": "<s1>|<s2>", "use_face_segmentation_condition": false, "use_template": "object", "weight_decay_lora": 0.001, "weight_decay_ti": 0.0,
	}
	o := Advanced()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	own := 0
	for _, f := range Fields() {
		if f.Own {
			own++
			continue
		}
		w, ok := want[f.Name]
		if !ok {
			t.Errorf("%s is no input of the advanced trainer", f.Name)
		}
		if got := f.Value(&o); got != w {
			t.Errorf("%s: got %v, want %v", f.Name, got, w)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("no field for %v", want)
	}
	// Every option has a field, and its own JSON name.
	var names map[string]any
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &names); err != nil {
		t.Fatal(err)
	}
	if len(names) != len(Fields()) {
		t.Errorf("%d options, %d fields", len(names), len(Fields()))
	}
	for _, f := range Fields() {
		if _, ok := names[f.Name]; !ok {
			t.Errorf("field %s is no option", f.Name)
		}
		if f.Usage == "" || strings.Contains(f.Flag(), "_") {
			t.Errorf("field %s: usage %q, flag %q", f.Name, f.Usage, f.Flag())
		}
	}
}

func TestForCard(t *testing.T) {
	b, err := base.Open(embedded.Name, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, task := range append(Tasks(), "") {
		o, err := ForCard(task, b.Card)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Validate(); err != nil {
			t.Errorf("%s: %v", task, err)
		}
		if err := o.CheckCard(b.Card); err != nil {
			t.Errorf("%s: %v", task, err)
		}
		if o.Resolution != 64 {
			t.Errorf("%s: resolution is %d", task, o.Resolution)
		}
		for _, name := range b.Card.Training.Presets[task].Names() {
			want := fmt.Sprint(b.Card.Training.Presets[task][name])
			for _, f := range Fields() {
				if f.Name != name {
					continue
				}
				same := o
				if err := same.Set(name, want); err != nil || same != o {
					t.Errorf("%s: %s is %v, the card says %s (%v)", task, name, f.Value(&o), want, err)
				}
			}
		}
	}
	o, _ := ForCard(TaskStyle, b.Card)
	o.Resolution = 72
	if err := o.CheckCard(b.Card); err == nil {
		t.Error("a resolution that the base does not take was taken")
	}
	card := b.Card
	card.Training.Presets = map[string]base.Preset{"style": {"lora_rang": json.Number("4")}}
	if _, err := ForCard(TaskStyle, card); err == nil || !strings.Contains(err.Error(), "lora_rang") {
		t.Errorf("an unknown option in a card: %v", err)
	}
}

func TestSet(t *testing.T) {
	tests := []struct {
		name  string
		value any
		want  string // of the option afterwards, or the error
	}{
		{"lora_rank", 8, "8"},
		{"lora-rank", "12", "12"},
		{"lora_rank", 3.0, "3"},
		{"lora_rank", json.Number("5"), "5"},
		{"lora_rank", 3.5, "error: lora_rank: 3.5 does not fit; want a whole number"},
		{"lora_rank", true, "error: lora_rank: true is true or false, want a whole number"},
		{"lora_rank", "many", `error: lora_rank: "many" does not fit; want a whole number`},
		{"learning_rate_unet", "1e-3", "0.001"},
		{"learning_rate_unet", 1, "1"},
		{"scale_lr", "false", "false"},
		{"scale_lr", 1, "error: scale_lr: 1 does not fit; want true or false"},
		{"seed", uint64(math.MaxUint64), "18446744073709551615"},
		{"seed", "-1", `error: seed: "-1" does not fit; want a whole number from 0 on`},
		{"use_template", "style", "style"},
		{"use_template", nil, "object"},
		{"lora_rang", 1, `error: there is no option "lora_rang"`},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s=%v", tt.name, tt.value), func(t *testing.T) {
			o := Advanced()
			got := ""
			if err := o.Set(tt.name, tt.value); err != nil {
				got = "error: " + err.Error()
			} else {
				for _, f := range Fields() {
					if f.Flag() == strings.ReplaceAll(tt.name, "_", "-") {
						got = fmt.Sprint(f.Value(&o))
					}
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestTemplateOverPattern: a template takes the place of a preset's pattern.
func TestTemplateOverPattern(t *testing.T) {
	o := Advanced()
	for _, set := range [][2]string{{"use_template", "none"}, {"caption_pattern", "{} in the style of {concept}"}, {"use_template", "style"}} {
		if err := o.Set(set[0], set[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Validate(); err != nil || o.CaptionPattern != "" {
		t.Errorf("%q, %v", o.CaptionPattern, err)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"resolution", 100, "resolution is 100; it must be a multiple of 8"},
		{"train_batch_size", 0, "train_batch_size is 0; it must be from 1"},
		{"gradient_accumulation_steps", 0, "gradient_accumulation_steps is 0"},
		{"lora_rank", 129, "lora_rank is 129; it must be from 1 to 128"},
		{"lora_dropout_p", 1.5, "lora_dropout_p is 1.5; it must be from 0 to 0.99"},
		{"lora_dropout_p", 1.0, "lora_dropout_p is 1; it must be from 0 to 0.99"},
		{"lora_dropout_p", math.NaN(), "lora_dropout_p is NaN"},
		{"learning_rate_unet", -1.0, "learning_rate_unet is -1"},
		{"learning_rate_ti", math.Inf(1), "learning_rate_ti is +Inf"},
		{"max_train_steps_ti", -1, "max_train_steps_ti is -1"},
		{"lr_scheduler", "cubic", `lr_scheduler is "cubic"; it must be one of linear, cosine`},
		{"lr_scheduler_lora", "", `lr_scheduler_lora is ""`},
		{"use_template", "person", `use_template is "person"; it must be object, style or none`},
		{"method", "full", `method is "full"`},
		{"lora_targets", "all", `lora_targets is "all"`},
		{"lora_scale", 0.0, "lora_scale is 0"},
		{"placeholder_tokens", "<s2>|<s1>", "alphabetical order, in which files keep them: <s1>|<s2>"},
		{"placeholder_tokens", "<s1>|<s1>", "no name may be there twice"},
		{"placeholder_tokens", "a b", "names without spaces"},
		{"placeholder_tokens", "<s1>|", "names without spaces"},
		{"placeholder_tokens", "", "placeholder_tokens is empty, so use_template must be none"},
		{"initializer_tokens", "dog", "initializer_tokens has 1 entries for 2 placeholder_tokens"},
		{"initializer_tokens", "<rand-x>|<zero>", `initializer_tokens has "<rand-x>"`},
		{"initializer_tokens", "<rand-0.1|<zero>", `a random start is written <rand-0.017>`},
		{"initializer_tokens", "|dog", "an empty entry"},
		{"placeholder_token_at_data", "dog", "write X|Y"},
		{"placeholder_token_at_data", "dog|<s1>", "needs use_template none"},
		{"caption_pattern", "{} here", "caption_pattern needs use_template none"},
		{"caption_pattern", "here", "it must contain {}"},
		{"class_prompt", "a dog", "class_data and class_prompt belong together"},
		{"min_snr_gamma", -1.0, "min_snr_gamma is -1"},
		{"noise_offset", 2.0, "noise_offset is 2"},
		{"timestep_limit", 0.0, "timestep_limit is 0"},
		{"mask_temperature", -1.0, "mask_temperature is -1"},
		{"validation_every", 0, "validation_every is 0"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("Err_%s=%v", tt.name, tt.value), func(t *testing.T) {
			o := Advanced()
			if err := o.Set(tt.name, tt.value); err != nil {
				t.Fatal(err)
			}
			err := o.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	o := Advanced()
	o.MaxTrainStepsTI, o.MaxTrainStepsTuning = 0, 0
	if err := o.Validate(); err == nil {
		t.Error("a training without steps was taken")
	}
	o = Advanced()
	o.LoRARank, o.UseTemplate = 0, "x"
	if err := o.Validate(); err == nil || len(strings.Split(err.Error(), "\n")) != 2 {
		t.Errorf("two mistakes: %v", err)
	}
}

func TestHash(t *testing.T) {
	a, b := Advanced(), Advanced()
	if a.Hash() != b.Hash() {
		t.Error("equal options have different hashes")
	}
	for _, f := range Fields() {
		o := Advanced()
		value := map[string]string{"uint64": "7", "int": "7", "float64": "0.123", "string": "none"}[f.Kind()]
		if f.Kind() == "bool" {
			value = fmt.Sprint(f.Value(&o) == false)
		}
		if err := o.Set(f.Name, value); err != nil {
			t.Fatal(err)
		}
		if same := o.Hash() == a.Hash(); same != (f.Name == "class_data") {
			t.Errorf("%s: the hash stays the same: %v", f.Name, same)
		}
	}
}

func TestSchedules(t *testing.T) {
	tests := []struct {
		rate Rate
		want map[int]float64 // step → rate
	}{
		{Rate{ScheduleConstant, 2, 5, 10}, map[int]float64{0: 2, 9: 2}}, // without warm-up, whatever is asked for
		{Rate{ScheduleConstantWithWarmup, 2, 4, 10}, map[int]float64{0: 0.5, 1: 1, 2: 1.5, 3: 2, 9: 2}},
		{Rate{ScheduleLinear, 1, 0, 5}, map[int]float64{0: 0.8, 2: 0.4, 4: 0}},
		{Rate{ScheduleLinear, 1, 2, 6}, map[int]float64{0: 0.5, 1: 1, 2: 0.75, 5: 0}},
		{Rate{ScheduleCosine, 1, 0, 4}, map[int]float64{0: 0.5 * (1 + math.Sqrt2/2), 1: 0.5, 3: 0}},
		{Rate{ScheduleCosine, 1, 2, 6}, map[int]float64{0: 0.5, 1: 1, 3: 0.5}},
		{Rate{ScheduleCosineWithRestarts, 1, 0, 4}, map[int]float64{1: 0.5, 3: 0}},
		{Rate{SchedulePolynomial, 1, 0, 4}, map[int]float64{1: 0.5 + 0.5e-7, 3: 1e-7}},
		{Rate{SchedulePolynomial, 1, 2, 4}, map[int]float64{0: 0.5, 2: 0.5 + 0.5e-7}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s_%d", tt.rate.Schedule, tt.rate.Warmup), func(t *testing.T) {
			for step, want := range tt.want {
				if got := tt.rate.At(step); math.Abs(got-want) > 1e-12 {
					t.Errorf("step %d: got %v, want %v", step, got, want)
				}
			}
		})
	}
}

func TestCheckFormat(t *testing.T) {
	for _, tt := range []struct {
		tokens string
		format lora.Format
		want   string
	}{
		{"<s1>|<s2>", lora.Cloneofsimo, ""},
		{"unet", lora.Diffusers, ""},
		{"unet", lora.Cloneofsimo, `placeholder_tokens: the token "unet"`},
		{"<s1>|a.b", lora.Kohya, `placeholder_tokens: the token "a.b" has a dot in it`},
	} {
		t.Run(string(tt.format)+"_"+tt.tokens, func(t *testing.T) {
			o := Advanced()
			o.PlaceholderTokens = tt.tokens
			if err := o.Validate(); err != nil {
				t.Fatal(err)
			}
			err := o.CheckFormat(tt.format)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
