package web

import (
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra/predictions"
)

// concept is a trained file that can be drawn with: the visitor's own, or one that ships.
type concept struct {
	ID      string // of the job that made it, or the slug of one that ships
	Name    string
	About   string
	Task    string // face, object, style, or ""
	URL     string // absolute: what lora_urls takes
	File    string // the file's name
	Base    string
	Size    int64
	At      events.Time
	Shipped bool
	Scale   float64
	Input   map[string]any // suggested settings
	Picture string         // URL of one picture drawn with it, or ""
	Tiny    bool           // that picture is shown larger than it is
	Sheet   string         // URL of the contact sheet, or ""
	SheetW  int
	SheetH  int
	Thanks  string // to whom the training pictures are owed
	Missing bool   // its base is not served here
	key     string
	job     *events.Job // that made it; nil for one that ships
}

// Initial stands for a concept without a picture.
func (c concept) Initial() string { return strings.ToUpper(c.Name[:min(1, len(c.Name))]) }

// scale is what the concept is drawn with first: of one's own, styles at what the base's card says, things stronger.
func (v *visit) scale(c concept) float64 {
	on, ok := v.Catalogue.On(events.ProgramLora, c.Base)
	switch {
	case c.Scale > 0:
		return c.Scale
	case ok && c.Task == "style" && on.Base.LoraScale > 0:
		return on.Base.LoraScale
	}
	return 0.7
}

// promptFor is a prompt that calls the chosen concepts by what they are: things first, styles after.
func promptFor(with []concept) string {
	var things, styles []string
	for i, c := range with {
		token := "<" + plainText(i+1) + ">"
		if c.Task == "style" {
			styles = append(styles, token)
		} else {
			things = append(things, token)
		}
	}
	p := "a photo of " + strings.Join(things, " and ")
	if len(things) == 0 {
		p = "a cat"
	}
	if len(styles) > 0 {
		p += " in the style of " + strings.Join(styles, " and ")
	}
	return p
}

// maxLooked is how many jobs are looked through for a list.
const maxLooked = 1000

// jobsPage reads one page of the visitor's jobs, newest first; next is "" at the end.
func (v *visit) jobsPage(cursor string, limit int) (jobs []events.Job, next string, err error) {
	page, err := v.Ports.Index.List(v.Context(), string(v.owner()), "", cursor, limit)
	if err != nil {
		return nil, "", err
	}
	for _, r := range page.Items {
		j, err := predictions.Decode(r)
		if err != nil {
			return nil, "", err
		}
		if !j.Deleted {
			j.Links = events.Links{API: v.site.base(v.Request), Outputs: v.outputs()}
			jobs = append(jobs, j)
		}
	}
	return jobs, page.Next, nil
}

// conceptOf is what a training made, ok false for a job that made none.
func conceptOf(j *events.Job) (c concept, ok bool) {
	if !j.Program.Trains() || j.Status != events.Succeeded || len(j.Outputs) == 0 {
		return c, false
	}
	o := j.Outputs[0]
	file := path.Base(o.Key)
	c = concept{ID: string(j.ID), URL: j.OutputURL(o), File: file, Base: j.Base, Size: o.Size, At: j.CreatedAt, key: o.Key, job: j}
	c.Name = strings.TrimSuffix(strings.TrimPrefix(file, j.OutputTemp), ".safetensors")
	if c.Name == "" {
		c.Name = "concept"
	}
	if input, err := events.ParseObject(j.Input); err == nil {
		c.Task, _ = input["task"].(string)
		if t, ok := input["use_template"].(string); ok {
			c.Task = t
		}
	}
	if c.Task == "" || c.Task == "none" {
		c.Task = "object"
	}
	return c, true
}

// ownConcepts are the visitor's, newest first, each with the newest picture that was drawn with it.
func (v *visit) ownConcepts() ([]concept, error) {
	var out []concept
	pictures := map[string]listed{} // by the concept's blob: the newest job that drew with it
	cursor := ""
	for range maxLooked / 100 {
		jobs, next, err := v.jobsPage(cursor, 100)
		if err != nil {
			return nil, err
		}
		for i := range jobs {
			j := &jobs[i]
			if c, ok := conceptOf(j); ok {
				if l := pictures[c.key]; len(l.Pictures) > 0 {
					c.Picture, c.Tiny = l.Pictures[0].URL, l.Tiny
				}
				out = append(out, c)
			} else if j.Program == events.ProgramLora && j.Status == events.Succeeded && len(j.Outputs) > 0 {
				for _, src := range j.Sources {
					if pictures[src.Key].Job == nil {
						pictures[src.Key] = v.listedOf(j)
					}
				}
			}
		}
		if cursor = next; next == "" {
			break
		}
	}
	return out, nil
}

// maxCovers is for how many concepts a preview is looked for.
const maxCovers = 60

// coverConcepts gives concepts that no one has drawn with yet the last preview of their training.
func (v *visit) coverConcepts(list []concept) {
	var bare []listed
	var at []int
	for i := range list {
		if c := &list[i]; c.Picture == "" && c.job != nil && len(bare) < maxCovers {
			bare, at = append(bare, listed{Job: c.job, Concept: c}), append(at, i)
		}
	}
	v.cover(bare)
	for i, l := range bare {
		list[at[i]].Picture, list[at[i]].Tiny = l.Cover, l.Tiny
	}
}

// allConcepts are those that can be drawn with on a base: the visitor's own first, then those that ship.
func (v *visit) allConcepts(base string) ([]concept, error) {
	var out []concept
	add := func(all []concept) {
		for _, c := range all {
			if c.Base == base {
				c.Scale = v.scale(c)
				out = append(out, c)
			}
		}
	}
	if v.session != nil {
		own, err := v.ownConcepts()
		if err != nil {
			return nil, err
		}
		add(own)
	}
	add(v.shippedList())
	return out, nil
}

// conceptsNamed finds concepts by id (of the visitor's trainings) or slug.
func (v *visit) conceptsNamed(names []string) ([]concept, error) {
	var out []concept
	for _, name := range names[:min(len(names), events.MaxConcepts)] {
		if c, ok := v.shippedNamed(name); ok {
			out = append(out, c)
			continue
		}
		if v.session == nil {
			return nil, errSignedOut
		}
		j, err := v.job(name)
		if err != nil {
			return nil, err
		}
		c, ok := conceptOf(&j)
		if !ok {
			return nil, errNotFound
		}
		out = append(out, c)
	}
	return out, nil
}

// conceptsPage is GET /concepts.
func (s *site) conceptsPage(v *visit) error {
	own, err := v.ownConcepts()
	if err != nil {
		return err
	}
	q := strings.TrimSpace(v.URL.Query().Get("q"))
	var found []concept
	for _, c := range own {
		if strings.Contains(strings.ToLower(c.Name+" "+c.Task), strings.ToLower(q)) {
			found = append(found, c)
		}
	}
	v.coverConcepts(found)
	return v.render(http.StatusOK, "concepts.html", "Concepts", struct {
		Own     []concept
		Query   string
		None    bool
		Shipped []concept
		Now     time.Time
	}{found, q, len(own) == 0, v.shippedList(), v.jobs.Now()})
}
