package models

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/pngtext"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/worker"
)

// draw is the program lora: pictures of a prompt, with any concepts.
func (e *Engine) draw(ctx context.Context, t *worker.Task, seat *generate.Seat) error {
	job := t.Job()
	l, done, err := e.use(ctx, job.Base)
	if err != nil {
		return err
	}
	defer done()
	var in events.LoraInput
	if err := job.DecodeInput(l.limits, &in); err != nil {
		return err
	}
	t.Logf("Using seed: %d", in.Seed)
	kind, err := sampler.ParseKind(in.Scheduler)
	if err != nil {
		return err
	}
	r := generate.Request{
		Width: in.Width, Height: in.Height, Steps: in.NumInferenceSteps, Guidance: in.GuidanceScale,
		Scheduler: kind, Seed: uint64(in.Seed), Num: in.NumOutputs, Strength: in.PromptStrength,
	}
	fetch := func(url string) (worker.File, error) {
		seat.Pause()
		defer seat.Resume()
		return t.Fetch(ctx, url)
	}
	if r.Image, r.Mask, err = fetchPictures(fetch, in); err != nil {
		return err
	}
	mounts, drop, err := l.fetchConcepts(fetch, t, in)
	defer drop()
	if err != nil {
		return err
	}
	concepts, err := l.mount(ctx, mounts)
	if errors.Is(err, device.ErrOutOfMemory) && seat.Alone() {
		concepts, err = l.mount(ctx, mounts)
	}
	if err != nil {
		return err
	}
	defer concepts.Release()
	var dropped []int
	if r.Prompt, r.Negative, dropped, err = expandPrompts(concepts.Expand, in); err != nil {
		return err
	}
	for _, n := range dropped {
		if len(mounts) == 0 {
			t.Logf("<%d> is drawn as the text that it is: lora_urls names no file.", n)
			continue
		}
		t.Logf("<%d> has no tokens of its own and was left out of the prompt.", n)
	}
	r.Seat, r.Concepts, r.Words = seat, concepts, concepts.Words
	r.Progress = func(s generate.Step) { t.Step("sampling", s.Image*s.Steps+s.Step, s.Images*s.Steps, 0, "") }
	return generate.Draw(ctx, l.model, r, func(i int, p *imageops.Picture) error {
		var file bytes.Buffer
		text := fmt.Sprintf("%s\nSteps: %d, Sampler: %s, CFG scale: %g, Seed: %d, Picture: %d, Size: %dx%d, Model: %s",
			in.Prompt, r.Steps, r.Scheduler, r.Guidance, in.Seed, i, p.Width, p.Height, job.Base)
		if err := pngtext.Encode(&file, p.Image(), text); err != nil {
			return err
		}
		return t.Output(ctx, fmt.Sprintf("out-%d.png", i), "image/png", &file)
	})
}

// expandPrompts writes both prompts in joined names. An error says which of them it is about.
func expandPrompts(expand func(string) (string, []int, error), in events.LoraInput) (prompt, negative string, dropped []int, err error) {
	prompt, dropped, err = expand(in.Prompt)
	if err != nil {
		return "", "", nil, fmt.Errorf("the prompt %w", err)
	}
	negative, more, err := expand(in.NegativePrompt)
	if err != nil {
		return "", "", nil, fmt.Errorf("negative_prompt %w", err)
	}
	return prompt, negative, append(dropped, more...), nil
}

// fetcher opens what an input names.
type fetcher func(url string) (worker.File, error)

// mount puts concepts beside the model, whose networks they need.
func (l *loaded) mount(ctx context.Context, mounts []lora.Mount) (*generate.Concepts, error) {
	defer l.model.Bind(l.model.Bind(ctx))
	return generate.Mount(l.model, mounts)
}

// fetchPictures reads the input's image and mask, resized to what is drawn.
func fetchPictures(fetch fetcher, in events.LoraInput) (*imageops.Picture, *generate.Mask, error) {
	if in.Image == "" {
		if in.Mask != "" {
			return nil, nil, fmt.Errorf("mask: it needs an image that it is a mask of")
		}
		return nil, nil, nil
	}
	read := func(name, url string) (*imageops.Picture, error) {
		f, err := fetch(url)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer f.Close()
		data, err := os.ReadFile(f.Path)
		if err != nil {
			return nil, err
		}
		p, err := imageops.Decode(data, imageops.Options{})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return p, nil
	}
	p, err := read("image", in.Image)
	if err != nil {
		return nil, nil, err
	}
	if p, err = p.Resize(in.Width, in.Height, imageops.Lanczos); err != nil {
		return nil, nil, fmt.Errorf("image: %w", err)
	}
	if in.Mask == "" {
		return p, nil, nil
	}
	m, err := read("mask", in.Mask)
	if err != nil {
		return nil, nil, err
	}
	mask, err := generate.MaskOf(m, in.Width, in.Height)
	return p, mask, err
}

// fetchConcepts opens the files of lora_urls with their scales. drop, never nil,
// says that they are not used any more.
func (l *loaded) fetchConcepts(fetch fetcher, t *worker.Task, in events.LoraInput) (mounts []lora.Mount, drop func(), err error) {
	var used [][32]byte
	drop = func() { l.sets.drop(used) }
	urls := events.SplitList(in.LoraURLs)
	scales, err := scalesFor(in.LoraScales, len(urls))
	if err != nil {
		return nil, drop, err
	}
	for i, url := range urls {
		sum, set, err := l.fetchConcept(fetch, url)
		if err != nil {
			return nil, drop, fmt.Errorf("lora_urls, file %d: %w", i+1, err)
		}
		used = append(used, sum)
		if note := set.UnusedNote(); note != "" {
			t.Logf("File %d: %s.", i+1, note)
		}
		mounts = append(mounts, lora.Mount{Set: set, Scale: float32(scales[i])})
	}
	return mounts, drop, nil
}

func (l *loaded) fetchConcept(fetch fetcher, url string) (sum [32]byte, set *lora.Set, err error) {
	f, err := fetch(url)
	if err != nil {
		return sum, nil, err
	}
	defer f.Close()
	if sum, err = fileHash(f.Path); err != nil {
		return sum, nil, err
	}
	set, err = l.sets.use(sum, func() (*lora.Set, error) { return lora.Open(f.Path, l.layers) })
	return sum, set, named(err, f)
}

// named makes an error about a fetched file one about the file as its owner calls
// it: where it lies on the runner is no one's business.
func named(err error, f worker.File) error {
	if err == nil || !strings.Contains(err.Error(), f.Path) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), f.Path, f.Name))
}

// scalesFor gives each file its scale: one number for all, or one each.
func scalesFor(text string, files int) ([]float64, error) {
	if files == 0 {
		return nil, nil
	}
	scales, ok := events.ParseScales(text)
	if !ok || len(scales) != 1 && len(scales) != files {
		return nil, fmt.Errorf("lora_scales %q does not fit %d files; give one number for all of them, or one each, separated by |", text, files)
	}
	for len(scales) < files {
		scales = append(scales, scales[0])
	}
	return scales, nil
}
