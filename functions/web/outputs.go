package web

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// What trainings put beside their outputs (gpurunner/models).
const (
	previewName = "preview-%03d.png" // by percent of the way
	lossesName  = "loss.csv"
)

// preview is a picture that a training drew on its way, or the place for one.
type preview struct {
	Percent int
	URL     string // "" while it is still to come
	Tiny    bool
}

// setOutputs lists what there is: of a job that runs, what it has put so far.
func (v *visit) setOutputs(p *panel, j *events.Job) error {
	prompt := ""
	for _, in := range p.Inputs {
		if in.Name == "prompt" {
			prompt = in.Value
		}
	}
	add := func(key, contentType string) {
		if !strings.HasPrefix(contentType, "image/") {
			return
		}
		o, alt := v.outputOf(j, key), fmt.Sprintf("Picture %d", len(p.Pictures)+1)
		if prompt != "" {
			alt += " of: " + prompt
		}
		p.Pictures = append(p.Pictures, picture{URL: o.URL, Link: o.Link, Name: o.Name, Alt: alt, Width: p.Width, Height: p.Height})
	}
	for _, o := range j.Outputs {
		add(o.Key, o.ContentType)
	}
	beside, err := v.beside(p, j)
	if err != nil {
		return err
	}
	if p.Trains {
		if err := v.setBeside(p, j, beside); err != nil {
			return err
		}
	} else {
		for _, b := range beside {
			if path.Ext(b.Key) == ".png" {
				add(b.Key, "image/png")
			}
		}
	}
	p.Expected = p.Expected[min(len(p.Pictures), len(p.Expected)):]
	if !p.Live {
		p.Expected = nil
	}
	if c, ok := conceptOf(j); ok {
		if n := len(p.Previews); n > 0 {
			c.Picture, c.Tiny = p.Previews[n-1].URL, p.Previews[n-1].Tiny
		}
		p.Concept = &c
	}
	return nil
}

// beside lists what a job has put that its record does not name: outputs before it has ended, and what shows
// how a training went.
func (v *visit) beside(p *panel, j *events.Job) ([]infra.BlobInfo, error) {
	if j.Status != events.Processing && (j.Status != events.Succeeded || !p.Trains) {
		return nil, nil
	}
	list, err := v.Ports.Blobs.List(v.Context(), j.OutputKeyPrefix(), "", 200)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(b infra.BlobInfo) bool {
		return slices.ContainsFunc(j.Outputs, func(o events.OutputObject) bool { return o.Key == b.Key })
	}), nil
}

// setBeside shows a training's previews, and the losses of all its steps once they are there: the log has one
// a second.
func (v *visit) setBeside(p *panel, j *events.Job, beside []infra.BlobInfo) error {
	tiny := v.tinyBase(j.Base)
	for _, b := range beside {
		if path.Base(b.Key) == lossesName {
			blob, err := v.Ports.Blobs.Get(v.Context(), b.Key, infra.GetOptions{})
			if err != nil {
				return err
			}
			c := readLosses(blob.Body)
			blob.Body.Close()
			if all := chartOf(c); all != nil {
				p.Chart, p.Losses = all, v.outputOf(j, b.Key).URL
			}
		}
		for i := range p.Previews {
			if x := &p.Previews[i]; path.Base(b.Key) == fmt.Sprintf(previewName, x.Percent) {
				x.URL, x.Tiny = v.outputOf(j, b.Key).URL, tiny
			}
		}
	}
	if !p.Live { // what did not come does not come any more
		p.Previews = slices.DeleteFunc(p.Previews, func(x preview) bool { return x.URL == "" })
	}
	return nil
}

// outputOf is a file under the job's prefix, with its addresses.
func (v *visit) outputOf(j *events.Job, key string) output {
	link := j.OutputURL(events.OutputObject{Key: key})
	shown := link
	if u, err := url.Parse(link); err == nil && v.OutputsURL == "" {
		shown = u.EscapedPath() // the same host, whatever name the browser has for it
	}
	return output{URL: shown, Link: link, Name: path.Base(key)}
}
