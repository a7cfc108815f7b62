package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/png" // what the service draws
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/samples"
)

// Options say what Run does.
type Options struct {
	Binary string // the lowrank program
	Dir    string // an empty folder that the demo fills
	Out    io.Writer
	// Write puts a whole file in its place, or nothing.
	Write func(path string, data []byte) error
	// Progress shows how far a phase of a part of the work is.
	Progress func(label string, phase, done, total int)
}

// Result is what Run made.
type Result struct {
	Sheet          string // the contact sheet
	Style, Mascot  string // the concepts' files
	Parts          []Part
	StyleURL, Data string
	Pictures       Pictures
}

// Pictures are those of the sheet, row by row.
type Pictures struct {
	Without, Style, Mascot, Both []image.Image
}

// Part is a timed part of the work.
type Part struct {
	Name string
	Took time.Duration
}

// shot is a picture of the sheet: a prompt and its seed.
type shot struct {
	prompt string
	seed   int
}

// styleShots are of things that the style's pictures do not show.
var styleShots = []shot{{"a bear", 14}, {"a butterfly", 11}, {"a castle", 14}, {"a duck", 11}, {"a frog", 8}, {"a heart", 14}, {"a penguin", 8}, {"a robot", 11}}

// mascotShots put the mascot where its pictures do not show it.
var mascotShots = []shot{
	{"a picture of %s", 16}, {"%s on a yellow background", 16}, {"%s on a pink background", 16}, {"%s on a purple background", 16},
	{"%s in the style of chalk", 40}, {"%s in the style of gold", 16}, {"%s in the style of sunset", 10}, {"%s in the style of sepia", 12},
}

// bothPrompt names both, and what the style is made of: with two concepts
// neither word alone says lines enough.
const bothPrompt = "<2>, <1>, neon lines on a black background"

// bothSeeds are of pictures of the mascot in the style.
var bothSeeds = []int{1, 6, 8, 11, 19, 34, 40, 43}

// Scales of the concepts.
const (
	StyleScale  = "0.85"
	mascotScale = "1"
	bothScales  = "0.6|0.9"
)

// Guidance of the pictures. The base's own, 4.5, makes a learnt style's colours
// hard.
const (
	StyleGuidance  = 3
	mascotGuidance = 4.5
	bothGuidance   = 4
	bothSteps      = 20
)

// trainingSeed is the seed of both trainings.
const trainingSeed = 7

// Run does the demo. It leaves the service stopped and its folder as it is.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	res := &Result{}
	begun := time.Now()
	timed := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		res.Parts = append(res.Parts, Part{name, time.Since(start)})
		return err
	}
	var s *service
	if err := timed("start of the service", func() (err error) { s, err = start(ctx, o.Binary, o.Dir); return err }); err != nil {
		if s != nil {
			s.stop()
		}
		return nil, err
	}
	defer s.stop()
	fmt.Fprintf(o.Out, "The service runs at %s\n", s.url)

	d := &demo{o: o, s: s}
	if err := timed("training of the style", func() (err error) {
		d.style, err = d.train(ctx, samples.NeonSign, "style", "style: 24 neon signs")
		return err
	}); err != nil {
		return nil, err
	}
	if err := timed("training of the mascot", func() (err error) {
		d.mascot, err = d.train(ctx, samples.Lowie, "object", "mascot: 10 pictures of Lowie")
		return err
	}); err != nil {
		return nil, err
	}
	var sections []section
	if err := timed("drawing", func() (err error) { sections, err = d.draw(ctx); return err }); err != nil {
		return nil, err
	}
	res.Pictures = Pictures{Without: sections[0].rows[0].pictures(), Style: sections[0].rows[1].pictures(), Mascot: sections[1].rows[0].pictures(), Both: sections[2].rows[0].pictures()}
	sheet, err := contactSheet("lowrank: a style and a mascot, taught from a few pictures", sections)
	if err != nil {
		return nil, err
	}
	res.Sheet = filepath.Join(o.Dir, "contact-sheet.png")
	if err := o.Write(res.Sheet, sheet); err != nil {
		return nil, err
	}
	res.Style, res.Mascot, res.Data = d.style.file, d.mascot.file, filepath.Join(o.Dir, "data")
	res.StyleURL = d.style.url
	res.Parts = append(res.Parts, Part{"all of it", time.Since(begun)})
	return res, nil
}

type demo struct {
	o             Options
	s             *service
	style, mascot concept
}

// concept is a trained file.
type concept struct{ url, file string }

var bar = regexp.MustCompile(`(?m)^\s*\d+%\|.*\|\s*(\d+)/(\d+)`)

// progress reads a training's bars, one after the other in its logs: which it is
// at, from 0, and how far.
func progress(logs string) (phase, done, total int) {
	before := 0
	for _, line := range bar.FindAllStringSubmatch(logs, -1) {
		done, _ = strconv.Atoi(line[1])
		total, _ = strconv.Atoi(line[2])
		if done < before {
			phase++
		}
		before = done
	}
	return phase, done, total
}

// train has a set of samples learnt and downloads the result.
func (d *demo) train(ctx context.Context, set, task, label string) (concept, error) {
	zip, err := samples.Zip(set)
	if err != nil {
		return concept{}, err
	}
	p, err := d.s.train(ctx, set+".zip", zip, map[string]any{"task": task, "seed": trainingSeed})
	if err != nil {
		return concept{}, err
	}
	p, err = d.s.wait(ctx, p, func(now *prediction) {
		if phase, done, total := progress(now.Logs); total > 0 {
			d.o.Progress(label, phase, done, total)
		}
	})
	if err != nil {
		return concept{}, err
	}
	urls, err := p.outputs()
	if err != nil {
		return concept{}, err
	}
	data, err := d.s.fetch(ctx, urls[0])
	if err != nil {
		return concept{}, err
	}
	file := filepath.Join(d.o.Dir, set+".safetensors")
	if err := d.o.Write(file, data); err != nil {
		return concept{}, err
	}
	fmt.Fprintf(d.o.Out, "%s learnt: %s, %.1f MB\n", strings.SplitN(label, ":", 2)[0], file, float64(len(data))/1e6)
	return concept{url: urls[0], file: file}, nil
}

// draw asks for all pictures of the sheet at once: the queue keeps them in
// order.
func (d *demo) draw(ctx context.Context) ([]section, error) {
	type wish struct {
		row     *row
		i       int
		caption string
		input   map[string]any
	}
	var wishes []wish
	sections := []section{
		{heading: "A style", text: "24 pictures of neon signs were uploaded; none shows these things. The same prompt and seed without and with the concept, at scale " + StyleScale + ".",
			rows: []row{{label: "without"}, {label: "with “in the style of <1>”"}}},
		{heading: "A mascot", text: "10 pictures of Lowie, who has one eye, were uploaded. The prompts put him where the pictures do not, at scale " + mascotScale + ".", rows: []row{{label: "<1>"}}},
		{heading: "Both at once", text: "Two files on one loaded base: the mascot as a neon sign, by eight seeds, at scales 0.9 and 0.6.", rows: []row{{label: bothPrompt}}},
	}
	add := func(r *row, caption, prompt string, seed int, guidance float64, more map[string]any) {
		in := map[string]any{"prompt": prompt, "seed": seed, "guidance_scale": guidance}
		maps.Copy(in, more)
		wishes = append(wishes, wish{r, len(r.cells), caption, in})
		r.cells = append(r.cells, cell{caption: caption})
	}
	for _, s := range styleShots {
		add(&sections[0].rows[0], s.prompt, s.prompt, s.seed, StyleGuidance, nil)
		add(&sections[0].rows[1], s.prompt, s.prompt+" in the style of <1>", s.seed, StyleGuidance, map[string]any{"lora_urls": d.style.url, "lora_scales": StyleScale})
	}
	for _, s := range mascotShots {
		prompt := fmt.Sprintf(s.prompt, "<1>")
		add(&sections[1].rows[0], prompt, prompt, s.seed, mascotGuidance, map[string]any{"lora_urls": d.mascot.url, "lora_scales": mascotScale})
	}
	for _, seed := range bothSeeds {
		add(&sections[2].rows[0], fmt.Sprintf("seed %d", seed), bothPrompt, seed, bothGuidance, map[string]any{"lora_urls": d.style.url + "|" + d.mascot.url, "lora_scales": bothScales, "num_inference_steps": bothSteps})
	}

	var mu sync.Mutex
	var group sync.WaitGroup
	var errs []error
	done := 0
	slots := make(chan struct{}, 8)
	for _, w := range wishes {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			picture, err := d.picture(ctx, w.input)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", w.caption, err))
				return
			}
			w.row.cells[w.i].picture = picture
			done++
			d.o.Progress("drawing", 0, done, len(wishes))
		})
	}
	group.Wait()
	return sections, errors.Join(errs...)
}

func (d *demo) picture(ctx context.Context, input map[string]any) (image.Image, error) {
	p, err := d.s.draw(ctx, input)
	if err != nil {
		return nil, err
	}
	if p, err = d.s.wait(ctx, p, func(*prediction) {}); err != nil {
		return nil, err
	}
	urls, err := p.outputs()
	if err != nil {
		return nil, err
	}
	data, err := d.s.fetch(ctx, urls[0])
	if err != nil {
		return nil, err
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	return img, err
}
