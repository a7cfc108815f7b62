package web

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lowrank/lowrank/events"
)

// listed is a job in the list of the visitor's own.
type listed struct {
	Job      *events.Job
	Title    string
	Trains   bool
	Pictures []picture
	Concept  *concept
	State    string
	Links    []string // absolute addresses of the outputs
	Cover    string   // address of the last preview of a training, or ""
	Tiny     bool     // the pictures are shown larger than they are
}

// filter is what a list is narrowed to.
type filter struct {
	Query, Kind, Status string
}

// Face is the address of the picture that stands for the job, "" when there is none.
func (l listed) Face() string {
	if len(l.Pictures) > 0 {
		return l.Pictures[0].URL
	}
	return l.Cover
}

const pageOfJobs = 24

// predictionsPage is GET /predictions?q=&kind=&status=&cursor=.
func (s *site) predictionsPage(v *visit) error {
	q := v.URL.Query()
	f := filter{Query: strings.TrimSpace(q.Get("q")), Kind: q.Get("kind"), Status: q.Get("status")}
	var found []listed
	any := false
	next, cursor := "", q.Get("cursor")
	for looked := 0; looked < maxLooked && len(found) < pageOfJobs/2; looked += pageOfJobs {
		jobs, after, err := v.jobsPage(cursor, pageOfJobs)
		if err != nil {
			return err
		}
		for i := range jobs {
			any = true
			if f.takes(&jobs[i]) {
				found = append(found, v.listedOf(&jobs[i]))
			}
		}
		next, cursor = after, after
		if next == "" {
			break
		}
	}
	v.cover(found)
	more := ""
	if next != "" {
		values := url.Values{"cursor": {next}}
		for name, x := range map[string]string{"q": f.Query, "kind": f.Kind, "status": f.Status} {
			if x != "" {
				values.Set(name, x)
			}
		}
		more = "/predictions?" + values.Encode()
	}
	return v.render(http.StatusOK, "predictions.html", "Predictions", struct {
		Jobs   []listed
		Filter filter
		None   bool
		More   string
		Later  bool
		Now    time.Time
	}{found, f, !any && q.Get("cursor") == "", more, q.Get("cursor") != "", v.jobs.Now()})
}

// takes reports whether a job is one that is looked for.
func (f filter) takes(j *events.Job) bool {
	switch {
	case f.Kind == "pictures" && j.Program.Trains(), f.Kind == "trainings" && !j.Program.Trains():
		return false
	case f.Status == "running" && j.Status.Terminal(), f.Status == "done" && j.Status != events.Succeeded,
		f.Status == "failed" && j.Status != events.Failed && j.Status != events.Canceled:
		return false
	case f.Query == "":
		return true
	}
	text := titleOf(j) + " " + j.Model + " " + string(j.ID)
	for _, o := range j.Outputs {
		text += " " + path.Base(o.Key)
	}
	return strings.Contains(strings.ToLower(text), strings.ToLower(f.Query))
}

// titleOf is what a job is about: its prompt, or the name of its zip.
func titleOf(j *events.Job) string {
	input, err := events.ParseObject(j.Input)
	if err != nil {
		return string(j.ID)
	}
	if j.Program.Trains() {
		for _, src := range j.Sources {
			if src.URL == input["instance_data"] {
				return src.Name
			}
		}
		address, _ := input["instance_data"].(string)
		if strings.HasPrefix(address, "data:") {
			return "a zip"
		}
		if u, err := url.Parse(address); err == nil {
			return path.Base(u.Path)
		}
		return "a zip"
	}
	if p, ok := input["prompt"].(string); ok {
		return p
	}
	p, _ := events.InputSchema(j.Program, events.BaseLimits{}, nil).Property("prompt")["default"].(string)
	return p
}

func (v *visit) listedOf(j *events.Job) listed {
	l := listed{Job: j, Title: titleOf(j), Trains: j.Program.Trains()}
	if l.Title == "" {
		l.Title = "(no prompt)"
	}
	p := panel{Now: v.jobs.Now()}
	p.setState(j, "")
	l.State = p.State
	for _, o := range j.Outputs {
		out := v.outputOf(j, o.Key)
		l.Links = append(l.Links, out.Link)
		if strings.HasPrefix(o.ContentType, "image/") {
			l.Pictures = append(l.Pictures, picture{URL: out.URL, Link: out.Link, Name: out.Name, Alt: ""})
		}
	}
	if c, ok := conceptOf(j); ok {
		l.Concept = &c
	}
	l.Tiny = len(l.Pictures) > 0 && v.widthOf(j) <= tinyWidth
	return l
}

// coverName is the preview that was drawn with the finished concept.
var coverName = fmt.Sprintf(previewName, 100)

// cover finds the last previews of the trainings in a list. Where there is none the card goes without.
func (v *visit) cover(list []listed) {
	var all errgroup.Group
	all.SetLimit(8)
	for i := range list {
		l := &list[i]
		if l.Concept == nil {
			continue
		}
		all.Go(func() error {
			key := l.Job.OutputKey(coverName)
			if _, err := v.Ports.Blobs.Stat(v.Context(), key, ""); err == nil {
				l.Cover, l.Tiny = v.outputOf(l.Job, key).URL, v.tinyBase(l.Job.Base)
			}
			return nil
		})
	}
	_ = all.Wait() // no one fails
}

// tinyWidth is up to which width pictures are enlarged with hard edges.
const tinyWidth = 160

// tinyBase reports whether a base model's own pictures are that small.
func (v *visit) tinyBase(name string) bool {
	on, ok := v.Catalogue.On(events.ProgramLora, name)
	return ok && on.Base.Width <= tinyWidth
}

// widthOf is how wide a job's pictures are, in pixels.
func (v *visit) widthOf(j *events.Job) int {
	if input, err := events.ParseObject(j.Input); err == nil && input["width"] != nil {
		return digits(plainText(input["width"]))
	}
	on, ok := v.Catalogue.On(events.ProgramLora, j.Base)
	if !ok {
		return 0
	}
	return on.Base.Width
}
