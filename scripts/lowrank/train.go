package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lowrank/lowrank/gpurunner/atomicfile"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// trainFlags are the flags of lowrank train beside the trainer's options.
type trainFlags struct {
	base, task, out, format, checkpoint, previewPrompt string
	checkpointEvery, previewEvery                      int
	resume, curve                                      bool
	device                                             pick.Request
}

func trainCommand() *cobra.Command {
	var f trainFlags
	cmd := &cobra.Command{
		Use:   "train [flags] ZIP|FOLDER",
		Short: "Teach a base model a concept from a few pictures",
		Long: `Teach a base model a concept from a few pictures, and write it as a file of a few megabytes.

--task chooses a preset for what the pictures show; flags of the trainer's options override it. Stopping it (Ctrl-C)
saves a checkpoint, from which --resume goes on.`,
		Example: `  lowrank train --task style --out neon.safetensors neon-sign.zip
  lowrank train --task object --lora-rank 8 --max-train-steps-tuning 300 ./mascot
  lowrank train --task style --use-template none --caption-pattern "{} in the style of {concept}" neon-sign.zip
  lowrank train --resume --task style --out neon.safetensors neon-sign.zip`,
		Args: takes("the pictures, a zip or a folder"),
		RunE: func(cmd *cobra.Command, args []string) error { return runTrain(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.base, "base", embedded.Name, "base model: a name, a diffusers folder, or a .safetensors file")
	flags.StringVar(&f.task, "task", train.TaskObject, "what the pictures show: face, object or style; it chooses the preset")
	flags.StringVar(&f.out, "out", "", "file to write (default: the pictures' name with .safetensors)")
	flags.StringVar(&f.format, "format", "", "layout of the file: cloneofsimo, diffusers or kohya (default cloneofsimo)")
	flags.StringVar(&f.checkpoint, "checkpoint", "", "file to keep progress in (default: that of --out with .checkpoint)")
	flags.IntVar(&f.checkpointEvery, "checkpoint-every", 0, "steps between two checkpoints; 0: only when stopped")
	flags.BoolVar(&f.resume, "resume", false, "go on from the checkpoint, if there is one")
	flags.IntVar(&f.previewEvery, "preview-every", 0, "steps between two preview pictures; 0: none")
	flags.StringVar(&f.previewPrompt, "preview-prompt", "", "what they show, <1> being the concept (default: by the task)")
	deviceFlags(flags, &f.device)
	flags.BoolVar(&f.curve, "loss-curve", true, "write the losses beside the file, as -loss.csv and -loss.png")
	optionFlags(flags)
	return cmd
}

// optionFlags adds a flag for each option of the trainer. Their values are
// texts here: the defaults are those of the preset.
func optionFlags(flags *pflag.FlagSet) {
	defaults := train.Advanced()
	for _, o := range train.Fields() {
		flags.Var(&optionValue{kind: o.Kind(), now: fmt.Sprint(o.Value(&defaults))}, o.Flag(), o.Usage)
		if o.Kind() == "bool" {
			flags.Lookup(o.Flag()).NoOptDefVal = "true"
		}
		flags.Lookup(o.Flag()).DefValue = ""
	}
}

// optionValue is a flag that keeps its text for train.Options.Set.
type optionValue struct{ kind, now string }

func (v *optionValue) String() string     { return v.now }
func (v *optionValue) Set(s string) error { v.now = s; return nil }
func (v *optionValue) Type() string       { return v.kind }

// trainOptions are the preset on the base's card, with the flags that were
// given over it.
func trainOptions(flags *pflag.FlagSet, task string, card base.Card) (train.Options, error) {
	if task == "" {
		return train.Options{}, errors.New("--task must be face, object or style")
	}
	o, err := train.ForCard(task, card)
	if err != nil {
		return o, fmt.Errorf("--task: %w", err)
	}
	for _, field := range train.Fields() {
		if flags.Changed(field.Flag()) {
			if err := o.Set(field.Name, flags.Lookup(field.Flag()).Value.String()); err != nil {
				return o, fmt.Errorf("--%s: %w", field.Flag(), err)
			}
		}
	}
	if err := errors.Join(o.Validate(), o.CheckCard(card)); err != nil {
		return o, err
	}
	return o, nil
}

func runTrain(cmd *cobra.Command, pictures string, f *trainFlags) (err error) {
	if err := handOver(f.device); err != nil {
		return err
	}
	ctx, messages := cmd.Context(), cmd.ErrOrStderr()
	format, err := lora.ParseFormat(f.format)
	if err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	if f.out == "" {
		if f.out, err = nameOf(pictures); err != nil {
			return err
		}
	}
	if f.checkpoint == "" {
		f.checkpoint = f.out + ".checkpoint"
	}
	if err := checkTrainFiles(pictures, cmd.Flags().Lookup("class-data").Value.String(), f); err != nil { // not after hours of training
		return err
	}
	switch {
	case f.previewEvery < 0 || f.checkpointEvery < 0:
		return errors.New("--preview-every and --checkpoint-every are numbers of steps, 0 for never")
	case f.previewPrompt != "" && f.previewEvery == 0:
		return errors.New("--preview-prompt needs --preview-every")
	}
	b, err := openBase(f.base)
	if err != nil {
		return err
	}
	defer b.Close()
	o, err := trainOptions(cmd.Flags(), f.task, b.Card)
	if err != nil {
		return err
	}
	if err := o.CheckFormat(format); err != nil {
		return err
	}
	for _, note := range o.Idle(func(name string) bool { return cmd.Flags().Changed(strings.ReplaceAll(name, "_", "-")) }) {
		fmt.Fprintf(messages, "lowrank: %s\n", note)
	}
	pool, err := openDevice(f.device)
	if err != nil {
		return err
	}
	m, err := diffusion.Open(pool, b)
	if err != nil {
		return fmt.Errorf("%s: %w", f.base, err)
	}
	defer m.Release()
	m.Bind(ctx)
	job := train.Job{Model: m, Layers: generate.Layers(f.base, m), Name: f.out, Options: o,
		Checkpoint: f.checkpoint, CheckpointEvery: f.checkpointEvery, Resume: f.resume, PreviewEvery: f.previewEvery,
		Log: func(format string, args ...any) { fmt.Fprintf(messages, "lowrank: "+format+"\n", args...) }}
	if job.BaseID, err = b.Fingerprint(); err != nil {
		return err
	}
	if err := loadPictures(ctx, &job, pictures, b.Card, cmd); err != nil {
		return err
	}
	if f.previewEvery > 0 {
		job.Preview = previewer(f, m, b.Card, o.Seed)
	}
	began := time.Now()
	bars := map[train.Phase]*progress{}
	var tuning struct {
		began, ended time.Time
		steps        int
	}
	job.Progress = func(p train.Progress) {
		if p.Phase == train.Tuning {
			if tuning.ended = time.Now(); tuning.began.IsZero() {
				tuning.began = tuning.ended
			} else {
				tuning.steps++
			}
		}
		if bars[p.Phase] == nil {
			closeAll(bars)
			bars[p.Phase] = newProgress(messages, p.Phase.String())
		}
		bars[p.Phase].set(p.Step, p.Of, fmt.Sprintf("loss %.4f, rate %.2g", p.Loss, p.Rates[0]))
	}
	result, err := train.Run(ctx, job)
	closeAll(bars)
	if err != nil {
		var unsaved *train.SaveError
		switch _, missing := os.Stat(f.checkpoint); {
		case !errors.Is(err, context.Canceled):
		case errors.As(err, &unsaved):
			fmt.Fprintf(messages, "lowrank: progress could not be kept in %s: %v\n", f.checkpoint, atomicfile.Reason(unsaved.Err))
		case missing == nil:
			fmt.Fprintf(messages, "lowrank: progress is kept in %s; go on with the same command and --resume\n", f.checkpoint)
		}
		return err
	}
	if err := writeConcept(f.out, result, format); err != nil {
		return rescue(f, result, format, err)
	}
	if f.curve {
		if err := writeCurve(f.out, result.Curve); err != nil { // the concept is there
			fmt.Fprintf(messages, "lowrank: the loss curve could not be written: %v\n", err)
		}
	}
	fmt.Fprintf(messages, "lowrank: trained in %s", time.Since(began).Round(time.Second))
	if tuning.steps > 0 {
		fmt.Fprintf(messages, ", %s a tuning step", (tuning.ended.Sub(tuning.began) / time.Duration(tuning.steps)).Round(time.Millisecond))
	}
	fmt.Fprintf(messages, ", %.2f GiB of memory at the peak\n", float64(pool.Device.Stats().Peak)/(1<<30))
	fmt.Fprintln(cmd.OutOrStdout(), f.out)
	for _, written := range []string{f.out, beside(f.out, tokensSuffix), beside(f.out, lossesSuffix), beside(f.out, curveSuffix)} {
		if sameFile(written, f.checkpoint) { // one name on this file system
			return nil
		}
	}
	return ignoreMissing(os.Remove(f.checkpoint))
}

// checkTrainFiles refuses files that a training could not write, or would take
// from the user.
func checkTrainFiles(pictures, classData string, f *trainFlags) error {
	if err := errors.Join(checkOutput("--out", f.out), checkOutput("--checkpoint", f.checkpoint)); err != nil {
		return err
	}
	if sameFile(f.out, f.checkpoint) {
		return fmt.Errorf("--out and --checkpoint are both %s; progress is kept in a file of its own", f.out)
	}
	for _, needed := range []string{pictures, f.base, classData} {
		if needed != "" && sameFile(f.out, needed) {
			return fmt.Errorf("--out %s would replace what the training reads; name another file", f.out)
		}
	}
	if _, err := os.Stat(f.checkpoint); err == nil && !f.resume {
		return fmt.Errorf("%s is there already: if it holds the progress of a training that was stopped, go on with --resume; else remove it, or name another file with --checkpoint", f.checkpoint)
	}
	return nil
}

// nameOf is the file that a training writes where --out names none: that of the
// pictures, in the current folder.
func nameOf(pictures string) (string, error) {
	path, err := filepath.Abs(pictures)
	if err != nil {
		return "", err
	}
	name := filepath.Base(path)
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	if name == string(filepath.Separator) || strings.HasPrefix(name, ".") || name == "" {
		return "", fmt.Errorf("%s gives the concept no name; name its file with --out", pictures)
	}
	return name + ".safetensors", nil
}

func closeAll(bars map[train.Phase]*progress) {
	for _, b := range bars {
		b.close()
	}
}

// loadPictures reads the data set, and that of the class if one is asked for.
func loadPictures(ctx context.Context, job *train.Job, pictures string, card base.Card, cmd *cobra.Command) error {
	options := job.Options.LoadOptions(card.Training.ResolutionMultiple)
	for _, d := range []struct {
		path string
		set  **dataset.Set
	}{{pictures, &job.Data}, {job.Options.ClassData, &job.Class}} {
		if d.path == "" {
			continue
		}
		set, err := dataset.Load(ctx, d.path, options)
		if err != nil && d.set == &job.Class {
			return fmt.Errorf("--class-data: %w", err)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "lowrank: %s in %s\n", dataset.Count(len(set.Pictures)), d.path)
		if err := set.Report(cmd.ErrOrStderr()); err != nil {
			return err
		}
		*d.set = set
		options.Faces = false // of the class there are no masks
	}
	return nil
}

// previewer draws the concept as it is now.
func previewer(f *trainFlags, m *diffusion.Model, card base.Card, seed uint64) func(context.Context, train.Preview) error {
	prompt := f.previewPrompt
	if prompt == "" {
		prompt = "a photo of <1>"
		if f.task == train.TaskStyle {
			prompt = "a painting in the style of <1>"
		}
	}
	return func(ctx context.Context, p train.Preview) error {
		path := beside(f.out, fmt.Sprintf("-%s-%05d.png", p.Phase, p.Step))
		r := generate.Request{Prompt: strings.ReplaceAll(prompt, "<1>", p.Concept), Words: p.Words, Seed: seed,
			Width: card.Drawing.Width, Height: card.Drawing.Height, Steps: card.Drawing.Steps, Guidance: card.Drawing.Guidance}
		return generate.Draw(ctx, m, r, func(i int, pic *imageops.Picture) error {
			return writePicture(ctx, path, pic, parameters(prompt, "", &r, f.base, i))
		})
	}
}

// rescue writes elsewhere what could not be written where it should be: hours
// may be in it.
func rescue(f *trainFlags, result *train.Result, format lora.Format, why error) error {
	dir, err := os.MkdirTemp("", "lowrank-train-*")
	if err != nil {
		return why
	}
	elsewhere := filepath.Join(dir, filepath.Base(f.out))
	if err := writeConcept(elsewhere, result, format); err != nil {
		return errors.Join(why, ignoreMissing(os.RemoveAll(dir)))
	}
	return fmt.Errorf("%w; the result was written to %s instead", why, elsewhere)
}

// What a training writes beside its result: the words of a UNet, and the losses.
const (
	tokensSuffix = "-tokens.safetensors"
	lossesSuffix = "-loss.csv"
	curveSuffix  = "-loss.png"
)

// beside is the file of the result's name with another ending.
func beside(out, suffix string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + suffix }

func writeConcept(out string, result *train.Result, format lora.Format) error {
	if result.UNet == nil {
		return lora.WriteFile(out, result.Set, format)
	}
	if err := safetensors.WriteFile(out, result.UNet, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	if len(result.Set.Tokens) == 0 && len(result.Set.Adapters) == 0 {
		return nil
	}
	return lora.WriteFile(beside(out, tokensSuffix), result.Set, format)
}

func writeCurve(out string, curve train.Curve) error {
	var csv, png bytes.Buffer
	if err := errors.Join(curve.CSV(&csv), curve.PNG(&png)); err != nil {
		return err
	}
	return errors.Join(writeFile(beside(out, lossesSuffix), csv.Bytes()), writeFile(beside(out, curveSuffix), png.Bytes()))
}
