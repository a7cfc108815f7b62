package web

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
)

// panel is one job as its page shows it, and as live.js fetches it again while it runs.
type panel struct {
	Job      *events.Job
	Title    string
	Path     string // /predictions/{id}
	Forgery  string
	Model    string // path of the model's page
	Trains   bool
	Live     bool
	Poll     int // milliseconds until it is worth asking again; 0: never
	State    string
	Detail   string // of a job that has ended
	Wait     string // what it waits for
	Percent  int
	Stage    string
	Count    string // 120 of 300
	Left     string
	Took     string
	Chart    *chart
	Losses   string // address of the losses of all steps, as CSV
	Previews []preview
	Pictures []picture
	Expected []int // pictures that are still to come
	Width    int
	Height   int
	Concept  *concept
	Making   string // name of the concept that is being trained
	Seed     string
	Log      string
	LogLines int
	Inputs   []pair
	Webhook  string
	Now      time.Time
}

// Tiny reports whether the pictures are shown larger than they are.
func (p *panel) Tiny() bool { return p.Width > 0 && p.Width <= tinyWidth }

// picture is a drawn one.
type picture struct {
	URL, Link     string // as the page shows it, and absolute
	Name, Alt     string
	Width, Height int
}

// output is a file to download.
type output struct{ URL, Link, Name string }

// pair is an input and its value.
type pair struct{ Name, Value string }

const logTail = 300 // lines of the log that the page shows

var stageNames = map[string]string{
	"inversion": "Learning the token", "tuning": "Tuning the layers", "sampling": "Drawing", "validation": "Checking on pictures held out", "loading": "Loading the base model", "encoding": "Reading the pictures", "dataset": "Reading the pictures",
}

// panelOf builds the panel of a job.
func (v *visit) panelOf(j *events.Job) (*panel, error) {
	p := &panel{
		Job: j, Title: titleOf(j), Path: "/predictions/" + string(j.ID), Model: "/" + j.Model, Trains: j.Program.Trains(), Live: !j.Status.Terminal(), Now: v.jobs.Now(), Forgery: v.session.forgery(),
	}
	log, err := v.jobs.Log(v.Context(), j)
	if err != nil {
		return nil, err
	}
	log = strings.ToValidUTF8(log, "\uFFFD")
	p.setLog(log)
	if p.Trains {
		p.Chart = chartOf(readCourse(log))
		for _, percent := range readPreviews(log) {
			p.Previews = append(p.Previews, preview{Percent: percent})
		}
		if p.Live {
			p.Making = strings.TrimSuffix(p.Title, ".zip")
		}
	}
	p.setState(j, log)
	if p.Trains && p.Live && p.Previews == nil && p.Count == "" { // most trainings will say four
		p.Previews = []preview{{Percent: 25}, {Percent: 50}, {Percent: 75}, {Percent: 100}}
	}
	if err := p.setInputs(v, j); err != nil {
		return nil, err
	}
	if err := v.setOutputs(p, j); err != nil {
		return nil, err
	}
	if j.Webhook != nil {
		p.Webhook = j.Webhook.URL
	}
	return p, nil
}

// setState says in words where the job is.
func (p *panel) setState(j *events.Job, log string) {
	if !j.StartedAt.IsZero() {
		end := p.Now
		if j.Status.Terminal() {
			end = j.CompletedAt.Time
		}
		p.Took = secondsText(end.Sub(j.StartedAt.Time))
	}
	p.Seed = plainText(j.Seed)
	switch j.Status {
	case events.Starting:
		p.State, p.Poll = "In line", 700
		p.Wait = "A runner takes it as soon as one is free."
		if j.WaitsFor != "" {
			p.State, p.Wait = "Waiting for the upload", "It starts by itself when the zip has arrived."
		}
	case events.Processing:
		p.State, p.Poll = "Running", 600
		if p.Trains {
			p.Poll = 1200
		}
		if g := j.Progress; g.Total > 0 {
			p.Percent = min(100, 100*g.Done/g.Total)
			p.Count = fmt.Sprintf("%d of %d", g.Done, g.Total)
			p.Left = leftText(readCourse(log).left)
			p.Stage = stageNames[g.Stage]
			if p.Stage == "" {
				p.Stage = sentence(g.Stage)
				p.Stage = strings.TrimSuffix(p.Stage, ".")
			}
			if p.Left != "" && g.Stage == "inversion" {
				p.Left += ", then the tuning"
			}
		} else {
			p.Stage = "Getting ready"
		}
	case events.Succeeded:
		p.State = "Done"
	case events.Failed:
		p.State, p.Detail = "Failed", sentence(j.Error)
	case events.Canceled:
		p.State, p.Detail = "Canceled", "Nothing of it was kept."
	}
}

// setLog keeps the end of the log.
func (p *panel) setLog(log string) {
	log = strings.TrimRight(log, "\n")
	if log == "" {
		return
	}
	lines := strings.Split(log, "\n")
	p.LogLines = len(lines)
	if len(lines) > logTail {
		lines = lines[len(lines)-logTail:]
	}
	p.Log = strings.Join(lines, "\n")
}

// setInputs lists what the job was asked for, in the schema's order.
func (p *panel) setInputs(v *visit, j *events.Job) error {
	input, err := events.ParseObject(j.Input)
	if err != nil {
		return err
	}
	schema := events.InputSchema(j.Program, events.BaseLimits{}, nil)
	if on, ok := v.Catalogue.On(j.Program, j.Base); ok {
		schema = on.Schema
	}
	f := newForm(j.Program, schema)
	f.fill(input)
	for _, x := range f.order {
		if _, given := input[x.Name]; given {
			p.Inputs = append(p.Inputs, pair{x.Name, x.Value})
		}
	}
	if w, h := f.Field("width"), f.Field("height"); w != nil && h != nil {
		p.Width, p.Height = digits(w.Value), digits(h.Value)
		for i := range min(digits(f.Field("num_outputs").Value), 16) {
			p.Expected = append(p.Expected, i)
		}
	}
	return nil
}

// predictionPage is GET /predictions/{id}: the model's page with the job's settings and its panel.
func (s *site) predictionPage(v *visit) error {
	j, err := v.job(v.PathValue("id"))
	if err != nil {
		return err
	}
	owner, name, _ := strings.Cut(j.Model, "/")
	t, err := v.target(owner, name, "")
	if err == nil && t.Version.Base.Name != j.Base && !t.Own {
		t, err = v.target(owner, name, j.Base)
	}
	if err != nil {
		// The model or its base is gone: what the job made is still shown.
		t = &target{Owner: owner, Name: name, Program: j.Program, Schema: events.InputSchema(j.Program, events.BaseLimits{}, nil)}
	}
	f := newForm(t.Program, t.Schema)
	if err := f.fillFrom(&j); err != nil {
		return err
	}
	f.openSet()
	p, err := v.panelOf(&j)
	if err != nil {
		return err
	}
	return v.renderDemo(http.StatusOK, t, f, p)
}

// panelPart is GET /predictions/{id}/panel: the panel alone, for live.js.
func (s *site) panelPart(v *visit) error {
	j, err := v.job(v.PathValue("id"))
	if err != nil {
		return err
	}
	p, err := v.panelOf(&j)
	if err != nil {
		return err
	}
	return v.renderPart("panel", p)
}

// logText is GET /predictions/{id}/log: all of it, as text.
func (s *site) logText(v *visit) error {
	j, err := v.job(v.PathValue("id"))
	if err != nil {
		return err
	}
	log, err := v.jobs.Log(v.Context(), &j)
	if err != nil {
		return err
	}
	v.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.Write([]byte(log)) // a browser that has gone is no one's error
	return nil
}

// cancel is POST /predictions/{id}/cancel.
func (s *site) cancel(v *visit) error {
	return v.change(http.MethodPost, "/v1/predictions/"+v.PathValue("id")+"/cancel", http.StatusOK, "/predictions/"+v.PathValue("id"))
}

// deletePage is GET /predictions/{id}/delete: the question, for browsers without JavaScript.
func (s *site) deletePage(v *visit) error {
	j, err := v.job(v.PathValue("id"))
	if err != nil {
		return err
	}
	p, err := v.panelOf(&j)
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "delete.html", "Delete", p)
}

// delete is POST /predictions/{id}/delete.
func (s *site) delete(v *visit) error {
	return v.change(http.MethodDelete, "/v1/predictions/"+v.PathValue("id"), http.StatusNoContent, "/predictions")
}

// change asks the API for a change that answers with want, and leads on.
func (v *visit) change(method, apiPath string, want int, next string) error {
	if !events.ValidID(v.PathValue("id")) {
		return errNotFound
	}
	a, err := v.call(v.Context(), method, apiPath, "", bytes.NewReader(nil))
	if err != nil {
		return err
	}
	if a.status != want {
		return a.problemOf(nil)
	}
	if v.byScript() {
		v.writeJSON(http.StatusOK, map[string]string{"url": next})
		return nil
	}
	http.Redirect(v.ResponseWriter, v.Request, next, http.StatusSeeOther)
	return nil
}
