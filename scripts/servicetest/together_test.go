package servicetest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/samples"
)

// Jobs that wait together are drawn together, each to the bytes that it has alone,
// and what ends one of them leaves the others be.
func TestDrawTogether(t *testing.T) {
	r := startEngine(t)
	zip, err := samples.Zip(samples.Lowie)
	if err != nil {
		t.Fatal(err)
	}
	r.files.files["lowie.zip"] = zip
	for i, rank := range []int{2, 8} {
		concept, _ := r.outputs(events.ProgramAdvancedTraining, fmt.Sprintf(
			`{"instance_data":"lowie.zip","max_train_steps_ti":2,"max_train_steps_tuning":2,"train_batch_size":1,"gradient_accumulation_steps":1,"lora_rank":%d,"seed":%d}`, rank, i))
		r.files.files[fmt.Sprintf("%d.safetensors", i)] = concept[0]
	}
	inputs := []string{
		`{"prompt":"a cat","num_inference_steps":40}`,
		`{"prompt":"<1> on a hill","negative_prompt":"blue","num_inference_steps":40,"lora_urls":"0.safetensors","lora_scales":"0.7"}`,
		`{"prompt":"<1> and <2>","num_inference_steps":30,"num_outputs":2,"lora_urls":"0.safetensors|1.safetensors","lora_scales":"0.5|1","guidance_scale":2}`,
		`{"prompt":"<1>","width":64,"num_inference_steps":35,"lora_urls":"1.safetensors","scheduler":"K_EULER_ANCESTRAL"}`,
		`{"prompt":"a dog","width":32,"num_inference_steps":20}`, // of another size: alone
	}
	var alone [][][]byte
	for _, in := range inputs {
		files, _ := r.outputs(events.ProgramLora, in)
		alone = append(alone, files)
	}
	for _, c := range []struct {
		name string
		bad  string
		end  func(events.JobID)
		want events.Status
	}{
		{"OK", "", nil, ""},
		{"Cancel", `{"prompt":"a cat","num_inference_steps":500}`, func(id events.JobID) {
			for range 1000 {
				if j, err := r.store.Load(t.Context(), id); err != nil || j.Progress.Done > 2 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			if _, err := r.store.Cancel(t.Context(), id); err != nil {
				t.Error(err)
			}
		}, events.Canceled},
		{"ErrConcept", `{"prompt":"a cat","lora_urls":"gone"}`, nil, events.Failed},
		{"ErrNotANumber", `{"prompt":"<1>","num_inference_steps":40,"lora_urls":"0.safetensors","lora_scales":"1e30"}`, nil, events.Failed},
		{"ErrPanic", `{"prompt":"a cat","lora_urls":"panic:"}`, nil, events.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ids []events.JobID
			for i, in := range inputs {
				ids = append(ids, r.send(events.ProgramLora, in))
				if i == 1 && c.bad != "" {
					id := r.send(events.ProgramLora, c.bad)
					if c.end != nil {
						go c.end(id)
					}
					defer func() {
						if j := r.wait(id); j.Status != c.want {
							t.Errorf("%s %q, want %s", j.Status, j.Error, c.want)
						}
					}()
				}
			}
			var jobs []events.Job
			for i, id := range ids {
				jobs = append(jobs, r.wait(id))
				files, _ := r.made(jobs[i])
				if !slices.EqualFunc(files, alone[i], bytes.Equal) {
					t.Errorf("job %d made other pictures than alone", i)
				}
			}
			overlap := func(a, b events.Job) bool {
				return a.StartedAt.Before(b.CompletedAt.Time) && b.StartedAt.Before(a.CompletedAt.Time)
			}
			if !overlap(jobs[0], jobs[1]) || !overlap(jobs[1], jobs[2]) {
				t.Error("the first jobs were drawn one after the other")
			}
			for _, j := range jobs[:4] {
				if overlap(j, jobs[4]) {
					t.Error("one of another size was drawn beside others")
				}
			}
		})
	}
}
