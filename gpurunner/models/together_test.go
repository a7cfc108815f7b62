package models

import (
	"testing"

	"github.com/lowrank/lowrank/events"
)

func TestTogether(t *testing.T) {
	e := &Engine{seen: map[string]seenBase{
		"small": {events.BaseLimits{Width: 64, Height: 64}, 4},
		"large": {events.BaseLimits{Width: 512, Height: 512}, 8},
	}}
	job := func(p events.Program, base, input string) events.Job {
		return events.Job{Program: p, Base: base, Input: []byte(input)}
	}
	lora, training := events.ProgramLora, events.ProgramTraining
	for _, c := range []struct {
		name string
		a, b events.Job
		want bool
	}{
		{"OK", job(lora, "small", `{}`), job(lora, "small", `{"prompt":"x","num_inference_steps":3}`), true},
		{"Default", job(lora, "small", `{"width":64}`), job(lora, "small", `{"height":64.0}`), true},
		{"Size", job(lora, "small", `{}`), job(lora, "small", `{"width":32}`), false},
		{"LargestSize", job(lora, "small", `{"width":128,"height":128}`), job(lora, "small", `{"width":128,"height":128}`), true},
		{"LargeSize", job(lora, "small", `{"width":136,"height":128}`), job(lora, "small", `{"width":136,"height":128}`), false},
		{"Large", job(lora, "large", `{}`), job(lora, "large", `{}`), false},
		{"Base", job(lora, "small", `{}`), job(lora, "large", `{"width":64,"height":64}`), false},
		{"UnknownBase", job(lora, "new", `{"width":64,"height":64}`), job(lora, "new", `{"width":64,"height":64}`), false},
		{"Training", job(training, "small", `{}`), job(training, "small", `{}`), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := e.Together(c.a, c.b); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
