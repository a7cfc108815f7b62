package models

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// TestSetOptions: every input of the advanced trainer arrives in the option of
// its name, and what is left out has the option's default.
func TestSetOptions(t *testing.T) {
	b, err := base.Open(embedded.Name, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	limits := events.BaseLimits{Name: embedded.Name, Resolution: b.Card.Training.Resolution, InversionSteps: b.Card.Training.InversionSteps, TuningSteps: b.Card.Training.TuningSteps}
	options := func(input map[string]any) train.Options {
		t.Helper()
		raw, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		job := events.Job{Program: events.ProgramAdvancedTraining, Base: embedded.Name, Seed: 1337, Input: raw}
		if seed, ok := input["seed"]; ok {
			job.Seed = int64(seed.(int))
		}
		var in events.AdvancedInput
		if err := job.DecodeInput(limits, &in); err != nil {
			t.Fatal(err)
		}
		o, err := train.ForCard("", b.Card)
		if err != nil {
			t.Fatal(err)
		}
		if err := setOptions(&o, in); err != nil {
			t.Fatal(err)
		}
		return o
	}
	defaults, err := train.ForCard("", b.Card)
	if err != nil {
		t.Fatal(err)
	}
	if got := options(map[string]any{}); got != defaults {
		t.Errorf("no input: got %+v, want %+v", got, defaults)
	}
	for _, f := range train.Fields() {
		if f.Own {
			continue
		}
		var value any
		switch v := f.Value(&defaults).(type) {
		case bool:
			value = !v
		case string:
			value = "style"
		case float64:
			value = 0.125
		default:
			value = 24
		}
		want := defaults
		if err := want.Set(f.Name, value); err != nil {
			t.Fatal(err)
		}
		if want == defaults {
			t.Fatalf("%s: %v is its default", f.Name, value)
		}
		if got := options(map[string]any{f.Name: value}); got != want {
			t.Errorf("%s=%v: got %v", f.Name, value, fmt.Sprint(f.Value(&got)))
		}
	}
}

// TestSchemaBounds: what the inputs' schema lets through the trainer takes.
func TestSchemaBounds(t *testing.T) {
	s := events.InputSchema(events.ProgramAdvancedTraining, events.BaseLimits{}, nil)
	checked := 0
	for name, p := range s.Input()["properties"].(map[string]any) {
		most, ok := p.(map[string]any)["maximum"]
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			o := train.Advanced()
			if err := o.Set(name, most); err != nil {
				t.Fatal(err)
			}
			if err := o.Validate(); err != nil {
				t.Error(err)
			}
		})
		checked++
	}
	if checked < 5 {
		t.Errorf("%d options have a maximum", checked)
	}
	if o := train.Advanced(); o.Set("lora_dropout_p", 0.991) != nil || o.Validate() == nil {
		t.Error("a dropout above the schema's was taken")
	}
}
