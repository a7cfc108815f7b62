package models

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/train"
	"github.com/lowrank/lowrank/gpurunner/worker"
)

// checkpointEvery is the number of steps between checkpoints: what a crash may
// cost at most.
const checkpointEvery = 50

// train is the program lora-training: a preset for the task.
func (e *Engine) train(ctx context.Context, t *worker.Task, _ *generate.Seat) error {
	job := t.Job()
	l, done, err := e.use(ctx, job.Base)
	if err != nil {
		return err
	}
	defer done()
	var in events.TrainingInput
	if err := job.DecodeInput(l.limits, &in); err != nil {
		return err
	}
	o, err := train.ForCard(in.Task, l.base.Card)
	if err != nil {
		return err
	}
	o.Seed, o.Resolution = uint64(in.Seed), in.Resolution
	return l.train(ctx, t, o, in.InstanceData, in.Format)
}

// trainAdvanced is the program lora-advanced-training: every option.
func (e *Engine) trainAdvanced(ctx context.Context, t *worker.Task, _ *generate.Seat) error {
	job := t.Job()
	l, done, err := e.use(ctx, job.Base)
	if err != nil {
		return err
	}
	defer done()
	var in events.AdvancedInput
	if err := job.DecodeInput(l.limits, &in); err != nil {
		return err
	}
	o, err := train.ForCard("", l.base.Card)
	if err != nil {
		return err
	}
	if err := setOptions(&o, in); err != nil {
		return err
	}
	return l.train(ctx, t, o, in.InstanceData, in.Format)
}

// setOptions sets the options by the names that the input has them under: they
// are the same.
func setOptions(o *train.Options, in events.AdvancedInput) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var values map[string]any
	if err := d.Decode(&values); err != nil {
		return err
	}
	for _, f := range train.Fields() {
		if v, ok := values[f.Name]; ok && !f.Own {
			if err := o.Set(f.Name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// train runs a training job on the loaded base and stores the file it makes.
func (l *loaded) train(ctx context.Context, t *worker.Task, o train.Options, data, format string) error {
	if err := errors.Join(o.Validate(), o.CheckCard(l.base.Card)); err != nil {
		return err
	}
	defer l.model.Bind(l.model.Bind(ctx))
	f, err := lora.ParseFormat(format)
	if err != nil {
		return err
	}
	if err := o.CheckFormat(f); err != nil {
		return err
	}
	set, name, err := l.fetchPictures(ctx, t, o, data)
	if err != nil {
		return err
	}
	t.Logf("Using seed: %d", o.Seed)
	job := train.Job{
		Model: l.model, Layers: l.layers, BaseID: l.limits.SHA256, Name: name, Options: o, Data: set,
		Checkpoint: filepath.Join(t.Dir, "checkpoint"), CheckpointEvery: checkpointEvery, Resume: true,
		Log: t.Logf,
	}
	job.Saved = func(path string) error {
		if why := context.Cause(ctx); errors.Is(why, worker.ErrEnded) || errors.Is(why, worker.ErrLost) {
			return why // no one goes on from it, or another runner already does
		}
		// Stored even when ctx has ended: that is when it counts.
		return t.SaveCheckpoint(context.WithoutCancel(ctx), path)
	}
	if err := t.RestoreCheckpoint(ctx, job.Checkpoint); err != nil {
		return err
	}
	job.Progress = func(p train.Progress) {
		t.Step(p.Phase.String(), p.Step, p.Of, p.Loss, fmt.Sprintf("loss=%.4f", p.Loss))
	}
	l.drawPreviews(t, &job)
	result, err := train.Run(ctx, job)
	var unusable *train.CheckpointError
	if errors.As(err, &unusable) { // of another version of this program, say
		t.Logf("The checkpoint cannot be used; the training begins anew.")
		if err := os.Remove(job.Checkpoint); err != nil {
			return err
		}
		result, err = train.Run(ctx, job)
	}
	if err != nil {
		return err
	}
	var losses bytes.Buffer
	if err := result.Curve.CSV(&losses); err != nil {
		return err
	}
	if err := t.Beside(ctx, "loss.csv", "text/csv; charset=utf-8", &losses); err != nil {
		return err
	}
	var file bytes.Buffer
	if err := lora.Write(&file, result.Set, f); err != nil {
		return err
	}
	done := t.Job()
	return t.Output(ctx, done.TrainedName(name), "application/octet-stream", &file)
}

// fetchPictures reads the zip of instance_data; name is the user's for it.
func (l *loaded) fetchPictures(ctx context.Context, t *worker.Task, o train.Options, url string) (*dataset.Set, string, error) {
	zip, err := t.Fetch(ctx, url)
	if err != nil {
		return nil, "", fmt.Errorf("instance_data: %w", err)
	}
	defer zip.Close()
	set, err := dataset.Load(ctx, zip.Path, o.LoadOptions(l.base.Card.Training.ResolutionMultiple))
	if err != nil {
		return nil, "", fmt.Errorf("instance_data: %w", named(err, zip))
	}
	var report bytes.Buffer
	if err := set.Report(&report); err != nil {
		return nil, "", err
	}
	if report.Len() > 0 {
		t.Logf("%s", report.String())
	}
	return set, zip.Name, nil
}
