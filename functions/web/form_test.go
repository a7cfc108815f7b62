package web

import (
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
)

var programs = []events.Program{events.ProgramLora, events.ProgramTraining, events.ProgramAdvancedTraining}

func formOf(p events.Program) *form {
	return newForm(p, events.InputSchema(p, events.BaseLimits{}, []string{"one", "two"}))
}

// TestFormHasEveryInput: each input of the schema is asked for once, and groups name none that is not there.
func TestFormHasEveryInput(t *testing.T) {
	for _, p := range programs {
		t.Run(string(p), func(t *testing.T) {
			f := formOf(p)
			var shown []string
			for _, g := range f.Groups {
				for _, x := range g.Fields {
					if slices.Contains(shown, x.Name) {
						t.Errorf("%s is asked for twice", x.Name)
					}
					shown = append(shown, x.Name)
				}
			}
			for name := range events.InputSchema(p, events.BaseLimits{}, nil).Input()["properties"].(map[string]any) {
				if name != "lora_scales" && !slices.Contains(shown, name) {
					t.Errorf("%s is not asked for", name)
				}
			}
			for _, plan := range groupPlans[p] {
				for _, name := range plan.fields {
					if f.Field(name) == nil {
						t.Errorf("group %q names %s, which is no input", plan.title, name)
					}
				}
			}
			if last := f.Groups[len(f.Groups)-1]; len(groupPlans[p]) != len(f.Groups) {
				t.Errorf("the last group is %q: an input is in no group", last.Title)
			}
			for name := range labels {
				if !slices.ContainsFunc(programs, func(p events.Program) bool { return formOf(p).Field(name) != nil }) {
					t.Errorf("label of %s, which is no input", name)
				}
			}
		})
	}
}

// TestDefaultsAreNoInput: a form that is sent as it came asks for nothing but the defaults.
func TestDefaultsAreNoInput(t *testing.T) {
	for _, p := range programs {
		if got := formOf(p).input(); len(got) != 0 {
			t.Errorf("%s: got %v", p, got)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name    string
		program events.Program
		values  url.Values
		want    map[string]any
		bad     invalidForm
	}{
		{"Text", events.ProgramLora, url.Values{"prompt": {"a <1>\r\nb"}}, map[string]any{"prompt": "a <1>\nb"}, nil},
		{"EmptyPromptIsGiven", events.ProgramLora, url.Values{"prompt": {""}}, map[string]any{"prompt": ""}, nil},
		{"EmptyFileIsNot", events.ProgramLora, url.Values{"image": {" "}}, map[string]any{}, nil},
		{"Choice", events.ProgramLora, url.Values{"width": {"768"}, "scheduler": {"DDIM"}}, map[string]any{"width": json.Number("768"), "scheduler": "DDIM"}, nil},
		{"Default", events.ProgramLora, url.Values{"width": {"512"}}, map[string]any{}, nil},
		{"Number", events.ProgramLora, url.Values{"guidance_scale": {"3,5"}}, map[string]any{"guidance_scale": json.Number("3.5")}, nil},
		{"SmallNumber", events.ProgramAdvancedTraining, url.Values{"learning_rate_ti": {".00002"}, "train_text_encoder": {"true"}, "scale_lr": {"true"}, "clip_ti_decay": {"true"}, "color_jitter": {"true"}}, map[string]any{"learning_rate_ti": json.Number("2e-05")}, nil},
		{"SwitchOff", events.ProgramAdvancedTraining, url.Values{"scale_lr": {"true"}, "clip_ti_decay": {"true"}, "color_jitter": {"true"}}, map[string]any{"train_text_encoder": false}, nil},
		{"LargeSeed", events.ProgramLora, url.Values{"seed": {"9007199254740993"}}, map[string]any{"seed": json.Number("9007199254740993")}, nil},
		{"EmptySeed", events.ProgramLora, url.Values{"seed": {""}}, map[string]any{}, nil},
		{"UnknownIsDropped", events.ProgramLora, url.Values{"other": {"1"}}, map[string]any{}, nil},
		{"ErrWord", events.ProgramLora, url.Values{"num_outputs": {"two"}}, map[string]any{}, invalidForm{"num_outputs": "Use a whole number from 1 to 4."}},
		{"ErrFraction", events.ProgramLora, url.Values{"num_outputs": {"1.5"}}, map[string]any{}, invalidForm{"num_outputs": "Use a whole number from 1 to 4."}},
		{"ErrNaN", events.ProgramLora, url.Values{"guidance_scale": {"NaN"}}, map[string]any{}, invalidForm{"guidance_scale": "Use a number from 1 to 20."}},
		{"ErrHuge", events.ProgramLora, url.Values{"guidance_scale": {"1e999"}}, map[string]any{}, invalidForm{"guidance_scale": "Use a number from 1 to 20."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, bad := formOf(c.program).decode(c.values)
			if !reflect.DeepEqual(got, c.want) || !reflect.DeepEqual(bad, c.bad) {
				t.Errorf("got %v, %v, want %v, %v", got, bad, c.want, c.bad)
			}
		})
	}
}

// TestFillDecode: settings that are used again come out as they went in.
func TestFillDecode(t *testing.T) {
	input := map[string]any{"prompt": "x", "width": json.Number("256"), "guidance_scale": json.Number("3.25"), "seed": json.Number("-5"), "lora_urls": "http://a/b|http://c/d", "lora_scales": "0.5|1", "negative_prompt": "y"}
	f := formOf(events.ProgramLora)
	f.fill(input)
	if got := f.input(); !reflect.DeepEqual(got, input) {
		t.Errorf("got %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("prompt=a&width=512&seed=1")
	f.Add("guidance_scale=1e-400&num_inference_steps=+1")
	f.Add("lora_scales=%7C%7C&lora_urls=javascript:1")
	catalogue, err := events.NewCatalogue(events.BaseLimits{Name: "one"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		for _, p := range programs {
			v := catalogue.Versions(p)[0]
			form := newForm(p, v.Schema)
			input, _ := form.decode(values)
			body, err := events.Marshal(input)
			if err != nil {
				t.Fatalf("an input that is no JSON: %v", err)
			}
			parsed, err := events.ParseObject(body)
			if err != nil {
				if strings.Contains(err.Error(), "UTF-8") || strings.Contains(err.Error(), "out of range") {
					return
				}
				t.Fatalf("%v: %s", err, body)
			}
			_, _, err = catalogue.Validate(v, parsed)
			if invalid, ok := err.(*events.InvalidInput); ok {
				for _, field := range invalid.Fields {
					name := strings.TrimPrefix(field.Field, "input.")
					if x := form.Field(name); x != nil && x.complaint(field) == "" {
						t.Errorf("%s: nothing is said", name)
					}
				}
			}
		}
	})
}
