package events

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func testCatalogue(t testing.TB) *Catalogue {
	t.Helper()
	c, err := NewCatalogue(
		BaseLimits{Name: "small", SHA256: strings.Repeat("0", 64), Sizes: []int{64, 128, 512, 1024}, Width: 64, Height: 64, MaxPixels: 512 * 512, Resolution: 64, MinResolution: 32, ResolutionMultiple: 8, InferenceSteps: 20},
		BaseLimits{Name: "sd15", SHA256: strings.Repeat("1", 64)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	o, err := ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestValidateMessages holds the wording that clients and their users have seen from Replicate.
func TestValidateMessages(t *testing.T) {
	const zip = `"instance_data":"https://x.invalid/a.zip"`
	tests := []struct {
		name    string
		program Program
		input   string
		detail  string // "" for OK
	}{
		{"OK/Training", ProgramTraining, `{` + zip + `,"task":"style"}`, ""},
		{"OK/WholeFloat", ProgramTraining, `{` + zip + `,"resolution":64.0}`, ""},
		{"OK/Unknown", ProgramTraining, `{` + zip + `,"no_such_input":{"a":[1]}}`, ""},
		{"OK/Empty", ProgramLora, `{}`, ""},
		{"OK/Data", ProgramTraining, `{"instance_data":"data:application/zip;base64,AAAA"}`, ""},
		{"OK/OtherBase", ProgramLora, `{"base":"sd15","width":768,"height":1024}`, ""},
		{"OK/Advanced", ProgramAdvancedTraining, `{` + zip + `,"train_text_encoder":false,"learning_rate_unet":0}`, ""},
		{"ErrRequired", ProgramTraining, `{"task":"style"}`, "- input: instance_data is required\n"},
		{"ErrEnum", ProgramLora, `{"scheduler":"X"}`, "- input.scheduler: scheduler must be one of the following: \"DDIM\", \"K_EULER\", \"DPMSolverMultistep\", \"K_EULER_ANCESTRAL\", \"PNDM\", \"KLMS\"\n"},
		{"ErrEnumInteger", ProgramLora, `{"width":100}`, "- input.width: width must be one of the following: 64, 128, 512, 1024\n"},
		{"ErrNull", ProgramLora, `{"seed":null}`, "- input.seed: Invalid type. Expected: integer, given: null\n"},
		{"ErrString", ProgramTraining, `{` + zip + `,"resolution":"512"}`, "- input.resolution: Invalid type. Expected: integer, given: string\n"},
		{"ErrFraction", ProgramTraining, `{` + zip + `,"resolution":64.5}`, "- input.resolution: Invalid type. Expected: integer, given: number\n"},
		{"ErrObject", ProgramTraining, `{"instance_data":{}}`, "- input.instance_data: Invalid type. Expected: string, given: object\n"},
		{"ErrBoolean", ProgramLora, `{"guidance_scale":true}`, "- input.guidance_scale: Invalid type. Expected: number, given: boolean\n"},
		{"ErrEnumType", ProgramTraining, `{` + zip + `,"task":5}`, "- input.task: Invalid type. Expected: string, given: number\n"},
		{"ErrMinimum", ProgramLora, `{"num_outputs":0}`, "- input.num_outputs: Must be greater than or equal to 1\n"},
		{"ErrMaximum", ProgramLora, `{"num_inference_steps":1000000000}`, "- input.num_inference_steps: Must be less than or equal to 500\n"},
		{"ErrMultiple", ProgramTraining, `{` + zip + `,"resolution":65}`, "- input.resolution: Must be a multiple of 8\n"},
		{"ErrURI", ProgramTraining, `{"instance_data":"file:///etc/passwd"}`, "- input.instance_data: Does not match format 'uri'\n"},
		{"ErrURIRelative", ProgramTraining, `{"instance_data":"my.zip"}`, "- input.instance_data: Does not match format 'uri'\n"},
		{"ErrLong", ProgramLora, `{"prompt":"` + strings.Repeat("x", 4001) + `"}`, "- input.prompt: String length must be less than or equal to 4000\n"},
		{"ErrTwo", ProgramTraining, `{` + zip + `,"task":"cat","resolution":"x"}`, "- input.resolution: Invalid type. Expected: integer, given: string\n- input.task: task must be one of the following: \"face\", \"object\", \"style\"\n"},
		{"ErrPixels", ProgramLora, `{"width":1024,"height":512}`, "- input.width: width times height must be at most 262144 pixels\n"},
		{"ErrSeedTooLarge", ProgramLora, `{"seed":9223372036854775808}`, "- input.seed: Must be between -9223372036854775808 and 9223372036854775807\n"},
		{"ErrMaskAlone", ProgramLora, `{"mask":"https://x.invalid/m.png"}`, "- input.mask: mask needs an image to repaint\n"},
		{"ErrLoraURL", ProgramLora, `{"lora_urls":"https://x.invalid/a|my.safetensors"}`, "- input.lora_urls: lora_urls must be http, https or data URLs separated by |\n"},
		{"ErrScales", ProgramLora, `{"lora_scales":"0.5|x"}`, "- input.lora_scales: lora_scales must be numbers from -100 to 100 separated by |\n"},
		{"ErrScalesNaN", ProgramLora, `{"lora_scales":"NaN"}`, "- input.lora_scales: lora_scales must be numbers from -100 to 100 separated by |\n"},
		{"ErrScalesHuge", ProgramLora, `{"lora_scales":"1e5"}`, "- input.lora_scales: lora_scales must be numbers from -100 to 100 separated by |\n"},
		{"ErrStrengthZero", ProgramLora, `{"image":"https://x.invalid/a.png","prompt_strength":0,"num_inference_steps":20}`, "- input.prompt_strength: prompt_strength must be at least 0.05 when num_inference_steps is 20, or no step is left to run\n"},
		{"ErrStrengthSmall", ProgramLora, `{"image":"https://x.invalid/a.png","prompt_strength":0.3,"num_inference_steps":3}`, "- input.prompt_strength: prompt_strength must be at least 0.3334 when num_inference_steps is 3, or no step is left to run\n"},
		{"ErrStrengthDefault", ProgramLora, `{"image":"https://x.invalid/a.png","num_inference_steps":1}`, "- input.prompt_strength: prompt_strength must be at least 1 when num_inference_steps is 1, or no step is left to run\n"},
		{"ErrScalesCount", ProgramLora, `{"lora_urls":"https://x.invalid/a","lora_scales":"1|2"}`, "- input.lora_scales: lora_scales must be one number, or one for each of the 1 lora_urls\n"},
		{"ErrBase", ProgramLora, `{"base":"nope"}`, "- input.base: base must be one of the following: \"small\", \"sd15\"\n"},
		{"ErrInitializers", ProgramAdvancedTraining, `{` + zip + `,"initializer_tokens":"a"}`, "- input.initializer_tokens: initializer_tokens must name one for each of the 2 placeholder_tokens\n"},
		{"ErrTokenAtData", ProgramAdvancedTraining, `{` + zip + `,"placeholder_token_at_data":"a|b"}`, "- input.placeholder_token_at_data: placeholder_token_at_data needs use_template none\n"},
	}
	c := testCatalogue(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := c.Validate(c.Versions(tt.program)[0], parse(t, tt.input))
			got := ""
			var invalid *InvalidInput
			if errors.As(err, &invalid) {
				got = invalid.Error()
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tt.detail {
				t.Errorf("got %q, want %q", got, tt.detail)
			}
		})
	}
}

// TestStrengthAllowed holds that what leaves a step to run is taken, and any strength where no picture is given.
func TestStrengthAllowed(t *testing.T) {
	c := testCatalogue(t)
	for _, input := range []string{
		`{"prompt_strength":0}`,
		`{"image":"https://x.invalid/a.png","prompt_strength":0.05,"num_inference_steps":20}`,
		`{"image":"https://x.invalid/a.png","prompt_strength":0.3334,"num_inference_steps":3}`,
		`{"image":"https://x.invalid/a.png","prompt_strength":1,"num_inference_steps":1}`,
		`{"image":"https://x.invalid/a.png"}`,
	} {
		if _, _, err := c.Validate(c.Versions(ProgramLora)[0], parse(t, input)); err != nil {
			t.Errorf("%s: %v", input, err)
		}
	}
}

func TestValidateDropsUnknown(t *testing.T) {
	c := testCatalogue(t)
	got, _, err := c.Validate(c.Versions(ProgramLora)[0], parse(t, `{"prompt":"x","auth":"r8_secret"}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got["prompt"] != "x" {
		t.Errorf("got %v, want the prompt alone", got)
	}
}

// TestDecodeInput holds that a runner gets the base's defaults and whole numbers in any spelling.
func TestDecodeInput(t *testing.T) {
	c := testCatalogue(t)
	j := Job{Program: ProgramLora, Base: "small", Seed: 42, Input: json.RawMessage(`{"prompt":"x","num_inference_steps":2e1,"guidance_scale":7,"num_outputs":2.0}`)}
	var in LoraInput
	if err := j.DecodeInput(c.Bases()[0], &in); err != nil {
		t.Fatal(err)
	}
	want := LoraInput{Prompt: "x", Width: 64, Height: 64, NumOutputs: 2, NumInferenceSteps: 20, GuidanceScale: 7, PromptStrength: 0.8, Scheduler: "DPMSolverMultistep", LoraScales: "0.5", Seed: 42, Base: "small"}
	if in != want {
		t.Errorf("got %+v\nwant %+v", in, want)
	}
	var adv AdvancedInput
	j = Job{Program: ProgramAdvancedTraining, Base: "sd15", Seed: 1337, Input: json.RawMessage(`{"instance_data":"https://x.invalid/a.zip"}`)}
	if err := j.DecodeInput(c.Bases()[1], &adv); err != nil {
		t.Fatal(err)
	}
	wantAdv := AdvancedInput{InstanceData: "https://x.invalid/a.zip", Seed: 1337, Resolution: 512, TrainTextEncoder: true, TrainBatchSize: 1, GradientAccumulation: 4, ScaleLR: true,
		LRScheduler: "constant", LRSchedulerLora: "constant", ClipTIDecay: true, ColorJitter: true, ContinueInversionLR: 1e-4, LearningRateText: 1e-5, LearningRateTI: 5e-4, LearningRateUNet: 1e-4,
		LoraRank: 4, LoraDropout: 0.1, LoraScale: 1, MaxTrainStepsTI: 500, MaxTrainStepsTuning: 1000, PlaceholderTokens: "<s1>|<s2>", UseTemplate: "object", WeightDecayLora: 0.001, Format: "cloneofsimo", Base: "sd15"}
	if adv != wantAdv {
		t.Errorf("got %+v\nwant %+v", adv, wantAdv)
	}
}

func TestParseObject(t *testing.T) {
	for name, body := range map[string]string{
		"ErrEmpty": "", "ErrSpace": " \n", "ErrSyntax": "{nope", "ErrList": "[1]", "ErrString": `"x"`, "ErrNull": "null", "ErrNaN": `{"a":NaN}`,
		"ErrDeep": strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), "ErrUTF8": "{\"a\":\"\xff\"}", "ErrTrailing": "{} {}",
		"ErrHugeNumber": `{"a":1e999999999}`, "ErrTinyNumber": `{"a":[1e-999999999999999999999999999999999999999999]}`, "ErrLongNumber": `{"a":` + strings.Repeat("1", 500) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			if o, err := ParseObject([]byte(body)); err == nil {
				t.Errorf("got %v, want an error", o)
			} else if strings.Contains(err.Error(), "nope") {
				t.Errorf("the error repeats the body: %v", err)
			}
		})
	}
}

func TestParseDataURL(t *testing.T) {
	tests := []struct{ name, in, mediaType, data string }{
		{"OK/Base64", "data:application/zip;base64,bm90IGEgemlw", "application/zip", "not a zip"},
		{"OK/NoPadding", "data:;base64,YQ", "", "a"},
		{"OK/URLAlphabet", "data:;base64,-_-_", "", "\xfb\xff\xbf"},
		{"OK/Percent", "data:text/plain,a%20b", "text/plain", "a b"},
		{"OK/Case", "DATA:text/plain,x", "text/plain", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, b, ok := ParseDataURL(tt.in)
			if !ok || m != tt.mediaType || string(b) != tt.data {
				t.Errorf("got %q, %q, %v", m, b, ok)
			}
		})
	}
	for _, bad := range []string{"", "data:", "data:x", "http://x", "data:;base64,*", "data:,%zz"} {
		if _, _, ok := ParseDataURL(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}
