package api

import (
	"errors"
	"net/http"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// catalogueDate is when the built-in versions were made: the day of the announcement.
const catalogueDate = "2023-02-07T00:00:00Z"

func noVersion() *problem {
	return unprocessable("Invalid version or not permitted", "The specified version does not exist (or perhaps you don't have permission to use it?)")
}

// targetOf reads a member of a body that names a version: an id, owner/name:id or owner/name. What does
// not exist is a 422.
func (s *server) targetOf(c *call, v any, field string) (target, error) {
	text, ok := v.(string)
	switch {
	case v == nil:
		return target{}, events.Invalid("required", field, field+" is required")
	case !ok:
		return target{}, events.Invalid("invalid_type", field, "Invalid type. Expected: string, given: "+jsonType(v))
	}
	ref, ok := events.ParseRef(text)
	if !ok || len(text) > 500 {
		return target{}, noVersion()
	}
	t, err := s.resolve(c, ref)
	if p := (*problem)(nil); errors.Is(err, infra.ErrNotFound) || errors.As(err, &p) && p.status == http.StatusNotFound {
		return target{}, noVersion()
	}
	return t, err
}

// resolve finds the version that ref names: of the built-in models, or of the caller's own. The id is
// echoed as it was sent; without one it is the latest's. A 404 when there is none.
func (s *server) resolve(c *call, ref events.Ref) (target, error) {
	if ref.Owner == "" {
		if m, v, ok := s.Catalogue.FindVersion(ref.ID); ok {
			return target{model: m.Owner + "/" + m.Name, version: ref.ID, program: v}, nil
		}
		return s.trained(c, ref, "")
	}
	if m, ok := s.Catalogue.Model(ref.Owner, ref.Name); ok {
		v := s.Catalogue.Versions(m.Program)[0]
		if ref.ID != "" {
			if v, ok = s.Catalogue.Version(m.Program, ref.ID); !ok {
				return target{}, notFound()
			}
		} else {
			ref.ID = v.ID
		}
		return target{model: m.Owner + "/" + m.Name, version: ref.ID, program: v}, nil
	}
	if ref.Owner != string(c.owner) {
		return target{}, notFound()
	}
	if _, err := s.reg.Model(c.Context(), c.owner, ref.Name); err != nil {
		return target{}, err
	}
	return s.trained(c, ref, ref.Owner+"/"+ref.Name)
}

// trained finds a version that a training of the caller's made; model "" is any.
func (s *server) trained(c *call, ref events.Ref, model string) (target, error) {
	var v registry.Version
	var err error
	if ref.ID != "" {
		v, err = s.reg.Version(c.Context(), c.owner, ref.ID)
	} else {
		var all []registry.Version
		if all, err = s.reg.Versions(c.Context(), c.owner, model); err == nil && len(all) == 0 {
			return target{}, notFound()
		} else if err == nil {
			v = all[0]
		}
	}
	if err != nil {
		return target{}, err
	}
	if model != "" && v.Model != model {
		return target{}, notFound()
	}
	program, ok := s.Catalogue.On(events.ProgramLora, v.Base)
	if !ok {
		return target{}, unprocessable("Invalid version or not permitted", "The base model that this version was trained on is not configured here any more.")
	}
	return target{model: v.Model, version: v.ID, program: program, weights: s.weightsURL(c, v)}, nil
}

func (s *server) weightsURL(c *call, v registry.Version) string {
	j := events.Job{Links: c.links}
	return j.OutputURL(events.OutputObject{Key: v.WeightsKey})
}

// showBuiltIn is the JSON object of a version under the id by which it was asked.
func showBuiltIn(v events.CatalogueVersion, id string) events.Version {
	var at events.Time
	if err := at.UnmarshalJSON([]byte(`"` + catalogueDate + `"`)); err != nil {
		panic(err) // a constant
	}
	return events.Version{ID: id, CreatedAt: at, CogVersion: events.CogVersion, OpenAPISchema: v.Schema}
}

// showTrained is the JSON object of a version that a training made: lora, whose concept is the default.
func (s *server) showTrained(c *call, v registry.Version) events.Version {
	out := events.Version{ID: v.ID, CreatedAt: v.CreatedAt, CogVersion: events.CogVersion, OpenAPISchema: events.Schema{}}
	p, ok := s.Catalogue.On(events.ProgramLora, v.Base)
	if !ok {
		p = s.Catalogue.Versions(events.ProgramLora)[0] // shown still, though it cannot run
	}
	out.OpenAPISchema = p.Schema.WithDefault("lora_urls", s.weightsURL(c, v))
	return out
}

// listVersions is GET /v1/models/{owner}/{model}/versions, the latest first.
func (s *server) listVersions(c *call) error {
	page := events.Page{Results: []any{}}
	if m, ok := s.Catalogue.Model(c.PathValue("owner"), c.PathValue("model")); ok {
		for _, v := range s.Catalogue.Versions(m.Program) {
			page.Results = append(page.Results, showBuiltIn(v, v.ID))
		}
		return c.writeJSON(http.StatusOK, page)
	}
	m, err := s.ownModel(c)
	if err != nil {
		return err
	}
	all, err := s.reg.Versions(c.Context(), c.owner, string(m.Owner)+"/"+m.Name)
	if err != nil {
		return err
	}
	for _, v := range all {
		page.Results = append(page.Results, s.showTrained(c, v))
	}
	return c.writeJSON(http.StatusOK, page)
}

// getVersion is GET /v1/models/{owner}/{model}/versions/{id}: clients ask after every run, under the id
// they ran.
func (s *server) getVersion(c *call) error {
	id := c.PathValue("id")
	if m, ok := s.Catalogue.Model(c.PathValue("owner"), c.PathValue("model")); ok {
		v, ok := s.Catalogue.Version(m.Program, id)
		if !ok {
			return notFound()
		}
		return c.writeJSON(http.StatusOK, showBuiltIn(v, id))
	}
	m, err := s.ownModel(c)
	if err != nil {
		return err
	}
	v, err := s.reg.Version(c.Context(), c.owner, id)
	if err != nil {
		return err
	}
	if v.Model != string(m.Owner)+"/"+m.Name {
		return notFound()
	}
	return c.writeJSON(http.StatusOK, s.showTrained(c, v))
}

// deleteVersion is DELETE of a version that a training made; the trained file stays.
func (s *server) deleteVersion(c *call) error {
	if _, ok := s.Catalogue.Model(c.PathValue("owner"), c.PathValue("model")); ok {
		return forbidden("The versions of built-in models cannot be deleted.")
	}
	m, err := s.ownModel(c)
	if err != nil {
		return err
	}
	v, err := s.reg.Version(c.Context(), c.owner, c.PathValue("id"))
	if err != nil {
		return err
	}
	model := string(m.Owner) + "/" + m.Name
	if v.Model != model {
		return notFound()
	}
	if err := s.reg.DeleteVersion(c.Context(), c.owner, model, v.ID); err != nil {
		return err
	}
	c.WriteHeader(http.StatusNoContent)
	return nil
}

// ownModel finds the caller's model that the path names.
func (s *server) ownModel(c *call) (registry.Model, error) {
	if c.PathValue("owner") != string(c.owner) {
		return registry.Model{}, notFound()
	}
	m, err := s.reg.Model(c.Context(), c.owner, c.PathValue("model"))
	if errors.Is(err, infra.ErrNotFound) {
		return m, notFound()
	}
	return m, err
}
