package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// target is the model that a page shows.
type target struct {
	Owner, Name string
	About       string
	Program     events.Program
	Version     events.CatalogueVersion
	VersionID   string
	Schema      events.Schema
	Own         bool // made by a training of the visitor's
}

// Path is where the model's pages are.
func (t *target) Path() string { return "/" + url.PathEscape(t.Owner) + "/" + url.PathEscape(t.Name) }

// Ref is the model's name as the API takes it.
func (t *target) Ref() string { return t.Owner + "/" + t.Name }

// Draws reports whether the model makes pictures rather than concepts.
func (t *target) Draws() bool { return !t.Program.Trains() }

// target finds the model that a path names, on a base ("" is the default).
func (v *visit) target(owner, name, base string) (*target, error) {
	if m, ok := v.Catalogue.Model(owner, name); ok {
		version := v.Catalogue.Versions(m.Program)[0]
		if base != "" {
			other, ok := v.Catalogue.On(m.Program, base)
			if !ok {
				return nil, errNotFound
			}
			version = other
		}
		return &target{Owner: owner, Name: name, About: m.Description, Program: m.Program, Version: version, VersionID: version.ID, Schema: version.Schema}, nil
	}
	if v.session == nil {
		return nil, errSignedOut // perhaps the visitor's own
	}
	if owner != string(v.owner()) {
		return nil, errNotFound
	}
	m, err := v.reg.Model(v.Context(), v.owner(), name)
	if errors.Is(err, infra.ErrNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	all, err := v.reg.Versions(v.Context(), v.owner(), owner+"/"+name)
	if err != nil {
		return nil, err
	}
	t := &target{Owner: owner, Name: name, Own: true, Program: events.ProgramLora, About: "A concept of your own. It has no versions yet: train one with this model as destination."}
	t.Version = v.Catalogue.Versions(events.ProgramLora)[0]
	t.Schema = t.Version.Schema
	if m.Description != nil {
		t.About = *m.Description
	}
	if len(all) > 0 {
		if on, ok := v.Catalogue.On(events.ProgramLora, all[0].Base); ok {
			t.Version = on
		}
		t.VersionID = all[0].ID
		weights := (&events.Job{Links: events.Links{Outputs: v.outputs()}}).OutputURL(events.OutputObject{Key: all[0].WeightsKey})
		t.Schema = t.Version.Schema.WithDefault("lora_urls", weights)
		if m.Description == nil {
			t.About = "A concept of your own, to draw with."
		}
	}
	return t, nil
}

// modelPage is what the pages of a model show.
type modelPage struct {
	*target
	Tab      string
	Form     *form
	Concepts []concept // to choose from
	Panel    *panel    // nil: nothing was run yet
	Shipped  []concept
	Versions []versionRow
	Code     []snippet
	Inputs   []*field
	Sample   []sampleStep
	With     []string // concepts that the page was asked for
	Limit    int64    // of a form that is sent without JavaScript, in bytes; 0 where it is large
}

// Try is the page with one concept more.
func (p modelPage) Try(c concept) string {
	q := url.Values{"with": append(slices.Clone(p.With), c.ID)}
	return p.Path() + "?" + q.Encode()
}

// sampleStep is one line of what happens when a model is run.
type sampleStep struct{ Title, Text string }

var trainingSteps = []sampleStep{
	{"Drop a zip", "Five to twenty-four pictures of one thing or one style. They are turned, cut and resized for you."},
	{"Watch it learn", "Loss, log and time left, as it goes. Close the page if you like; it goes on."},
	{"Draw with it", "You get a file of a few megabytes. It works at once, alone or with others."},
}

func (v *visit) demoTarget() (*target, error) {
	return v.target(v.PathValue("owner"), v.PathValue("model"), v.URL.Query().Get("base"))
}

// demoPage is GET /{owner}/{model}: the form, with the values that the query asks for: from (a prediction),
// with (concepts), base.
func (s *site) demoPage(v *visit) error {
	q := v.URL.Query()
	t, err := v.demoTarget()
	if err != nil {
		return err
	}
	with, err := v.conceptsNamed(q["with"])
	if err != nil {
		return err
	}
	if len(with) > 0 && q.Get("base") == "" && with[0].Base != t.Version.Base.Name && !t.Own {
		if t, err = v.target(t.Owner, t.Name, with[0].Base); err != nil {
			return err
		}
	}
	f := newForm(t.Program, t.Schema)
	if id := q.Get("from"); id != "" {
		j, err := v.job(id)
		if err != nil {
			return err
		}
		if err := f.fillFrom(&j); err != nil {
			return err
		}
		f.openSet()
	}
	v.fillConcepts(f, with)
	return v.renderDemo(http.StatusOK, t, f, nil)
}

// fillFrom shows a job's settings.
func (f *form) fillFrom(j *events.Job) error {
	if j.Program != f.Program {
		return errNotFound
	}
	input, err := events.ParseObject(j.Input)
	if err != nil {
		return err
	}
	f.fill(input)
	return nil
}

// fillConcepts chooses concepts to draw with, with a prompt that calls them.
func (v *visit) fillConcepts(f *form, with []concept) {
	if len(with) == 0 || f.Field("lora_urls") == nil {
		return
	}
	var urls, scales []string
	for _, c := range with {
		urls = append(urls, c.URL)
		scales = append(scales, plainText(v.scale(c)))
	}
	f.fill(map[string]any{"lora_urls": strings.Join(urls, "|"), "lora_scales": strings.Join(scales, "|"), "prompt": promptFor(with)})
	if len(with) == 1 {
		f.fill(with[0].Input)
	} else {
		for _, c := range with {
			f.fill(without(c.Input, "prompt", "seed"))
		}
	}
}

func without(m map[string]any, names ...string) map[string]any {
	out := map[string]any{}
	for k, x := range m {
		if !slices.Contains(names, k) {
			out[k] = x
		}
	}
	return out
}

// renderDemo answers with the form, and with a panel where something was run.
func (v *visit) renderDemo(status int, t *target, f *form, p *panel) error {
	data := modelPage{target: t, Tab: "demo", Form: f, Panel: p, Sample: trainingSteps, Limit: v.FormLimit}
	if v.Method != http.MethodPost {
		data.With = v.URL.Query()["with"]
	}
	if t.Draws() {
		var err error
		if data.Concepts, err = v.allConcepts(t.Version.Base.Name); err != nil {
			return err
		}
		for _, c := range data.Concepts {
			if c.Shipped && !slices.Contains(data.With, c.ID) {
				data.Shipped = append(data.Shipped, c)
			}
		}
	}
	return v.render(status, "model.html", t.Ref(), data)
}

// codePage is GET /{owner}/{model}/api: code for the form's values, and the inputs.
func (s *site) codePage(v *visit) error {
	t, err := v.demoTarget()
	if err != nil {
		return err
	}
	f := newForm(t.Program, t.Schema)
	if id := v.URL.Query().Get("from"); id != "" {
		j, err := v.job(id)
		if err != nil {
			return err
		}
		if err := f.fillFrom(&j); err != nil {
			return err
		}
	}
	code, err := v.snippets(t, f.input())
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "model.html", t.Ref()+" · API", modelPage{target: t, Tab: "api", Form: f, Code: code, Inputs: f.order})
}

// codePart is POST /{owner}/{model}/api: the code for the values of a form that was not sent yet.
func (s *site) codePart(v *visit) error {
	t, err := v.demoTarget()
	if err != nil {
		return err
	}
	v.Body = http.MaxBytesReader(v.ResponseWriter, v.Body, 1<<20)
	if err := v.ParseForm(); err != nil {
		return tooLargeOr(err)
	}
	input, _ := newForm(t.Program, t.Schema).decode(v.PostForm) // what is wrong is said by the form itself
	code, err := v.snippets(t, input)
	if err != nil {
		return err
	}
	return v.renderPart("code", code)
}

// input is what the form's values say, without what is as the default.
func (f *form) input() map[string]any {
	values := url.Values{}
	for _, x := range f.order {
		values.Set(x.Name, x.Value)
	}
	input, _ := f.decode(values)
	return input
}

// modelExamplesPage is GET /{owner}/{model}/examples.
func (s *site) modelExamplesPage(v *visit) error {
	t, err := v.demoTarget()
	if err != nil {
		return err
	}
	return v.render(http.StatusOK, "model.html", t.Ref()+" · Examples", modelPage{target: t, Tab: "examples", Shipped: v.shippedList()})
}

// versionRow is one version of a model.
type versionRow struct {
	ID, Base string
	Latest   bool
}

// versionsPage is GET /{owner}/{model}/versions.
func (s *site) versionsPage(v *visit) error {
	t, err := v.demoTarget()
	if err != nil {
		return err
	}
	data := modelPage{target: t, Tab: "versions"}
	if t.Own {
		all, err := v.reg.Versions(v.Context(), v.owner(), t.Ref())
		if err != nil {
			return err
		}
		for i, r := range all {
			data.Versions = append(data.Versions, versionRow{ID: r.ID, Base: r.Base, Latest: i == 0})
		}
	} else {
		for i, r := range v.Catalogue.Versions(t.Program) {
			data.Versions = append(data.Versions, versionRow{ID: r.ID, Base: r.Base.Name, Latest: i == 0})
		}
	}
	return v.render(http.StatusOK, "model.html", t.Ref()+" · Versions", data)
}
