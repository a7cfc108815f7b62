package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/png" // what the service draws
	"io"
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
	// Progress shows how far a part of the work is.
	Progress func(label string, done, total int)
}

// Result is what Run made.
type Result struct {
	Sheet          string // the contact sheet
	Style, Mascot  string // the concepts' files
	Parts          []Part
	StyleURL, Data string
}

// Part is a timed part of the work.
type Part struct {
	Name string
	Took time.Duration
}

// stylePrompts are things that the style's pictures do not show.
var stylePrompts = []string{"a pizza", "a mushroom", "a frog", "a heart", "a star", "a robot", "a bear", "an ice cream"}

// mascotPrompts are places and manners that the mascot's pictures do not show.
var mascotPrompts = []string{
	"a picture of %s", "%s on a red background", "%s on a green background", "%s on a black background",
	"%s in the style of chalk", "%s in the style of gold", "%s in the style of blueprint", "%s in the style of sunset",
}

const seed = 7

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
	sheet, err := contactSheet("lowrank: a style and a mascot, taught from a few pictures", sections)
	if err != nil {
		return nil, err
	}
	res.Sheet = filepath.Join(o.Dir, "contact-sheet.png")
	if err := os.WriteFile(res.Sheet, sheet, 0o644); err != nil {
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

// train has a set of samples learnt and downloads the result.
func (d *demo) train(ctx context.Context, set, task, label string) (concept, error) {
	zip, err := samples.Zip(set)
	if err != nil {
		return concept{}, err
	}
	p, err := d.s.train(ctx, set+".zip", zip, map[string]any{"task": task, "seed": seed})
	if err != nil {
		return concept{}, err
	}
	p, err = d.s.wait(ctx, p, func(now *prediction) {
		lines := bar.FindAllStringSubmatch(now.Logs, -1)
		if len(lines) == 0 {
			return
		}
		last := lines[len(lines)-1]
		done, _ := strconv.Atoi(last[1])
		total, _ := strconv.Atoi(last[2])
		d.o.Progress(label, done, total)
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
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return concept{}, err
	}
	fmt.Fprintf(d.o.Out, "%s learnt: %s, %.1f MB\n", strings.SplitN(label, ":", 2)[0], file, float64(len(data))/1e6)
	return concept{url: urls[0], file: file}, nil
}

// draw asks for all pictures of the sheet at once: the queue keeps them in
// order.
func (d *demo) draw(ctx context.Context) ([]section, error) {
	neon := func(p string) string { return p + " in the style of <1>" }
	lowie := func(p string) string { return fmt.Sprintf(p, "<1>") }
	both := func(p string) string { return fmt.Sprintf(p, "<2>") + " in the style of <1>" }
	bothPrompts := mascotPrompts[:1]
	type wish struct {
		row     *row
		i       int
		caption string
		input   map[string]any
	}
	var wishes []wish
	sections := []section{
		{heading: "A style", text: "24 pictures of neon signs were uploaded; none shows these things. The same prompt and seed, without and with the concept.",
			rows: []row{{label: "without"}, {label: "in the style of <1>"}}},
		{heading: "A mascot", text: "10 pictures of Lowie were uploaded. The prompts put him where the pictures do not.", rows: []row{{label: "<1>"}}},
		{heading: "Both at once", text: "Two files on one loaded base: the mascot in the style, other seeds.", rows: []row{{label: "<2> in the style of <1>"}}},
	}
	add := func(r *row, caption, prompt string, seed int, urls, scales string) {
		in := map[string]any{"prompt": prompt, "seed": seed}
		if urls != "" {
			in["lora_urls"], in["lora_scales"] = urls, scales
		}
		wishes = append(wishes, wish{r, len(r.cells), caption, in})
		r.cells = append(r.cells, cell{caption: caption})
	}
	for _, p := range stylePrompts {
		add(&sections[0].rows[0], p, p, seed, "", "")
		add(&sections[0].rows[1], p, neon(p), seed, d.style.url, styleScale)
	}
	for _, p := range mascotPrompts {
		add(&sections[1].rows[0], lowie(p), lowie(p), seed, d.mascot.url, mascotScale)
	}
	for i := range len(stylePrompts) {
		p := bothPrompts[i%len(bothPrompts)]
		add(&sections[2].rows[0], fmt.Sprintf("seed %d", seed+i), both(p), seed+i, d.style.url+"|"+d.mascot.url, bothScale)
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
			d.o.Progress("drawing", done, len(wishes))
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

// The scales that the sheet is drawn with.
const (
	styleScale  = "0.5"
	mascotScale = "1"
	bothScale   = "0.7|0.5"
)
