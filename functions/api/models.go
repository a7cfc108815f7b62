package api

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// Runs are not counted: run_count is 0, which the clients need to be a number.

func (s *server) showBuiltInModel(c *call, m events.BuiltIn) events.Model {
	v := s.Catalogue.Versions(m.Program)[0]
	latest := showBuiltIn(v, v.ID)
	return events.Model{
		URL: c.links.API + "/" + m.Owner + "/" + m.Name, Owner: m.Owner, Name: m.Name, Description: &m.Description,
		Visibility: "public", LatestVersion: &latest,
	}
}

func (s *server) showModel(c *call, m registry.Model) (events.Model, error) {
	out := events.Model{
		URL: c.links.API + "/" + string(m.Owner) + "/" + m.Name, Owner: string(m.Owner), Name: m.Name, Description: m.Description,
		Visibility: m.Visibility, GithubURL: m.GithubURL, PaperURL: m.PaperURL, LicenseURL: m.LicenseURL, CoverImageURL: m.CoverImage,
	}
	all, err := s.reg.Versions(c.Context(), c.owner, out.Owner+"/"+out.Name)
	if err == nil && len(all) > 0 {
		latest := s.showTrained(c, all[0])
		out.LatestVersion = &latest
	}
	return out, err
}

// visible are the models that the caller sees: the built-in ones and its own. They are few: one page.
func (s *server) visible(c *call) ([]events.Model, error) {
	var out []events.Model
	for _, m := range events.BuiltIns {
		out = append(out, s.showBuiltInModel(c, m))
	}
	own, err := s.reg.Models(c.Context(), c.owner)
	if err != nil {
		return nil, err
	}
	for _, m := range own {
		shown, err := s.showModel(c, m)
		if err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}

func (s *server) listModels(c *call) error {
	all, err := s.visible(c)
	if err != nil {
		return err
	}
	page := events.Page{Results: []any{}}
	for _, m := range all {
		page.Results = append(page.Results, m)
	}
	return c.writeJSON(http.StatusOK, page)
}

// searchModels is QUERY /v1/models with the text as its body; the npm client puts it in quotes.
func (s *server) searchModels(c *call) error {
	body, err := s.body(c, 64<<10)
	if err != nil {
		return err
	}
	words := strings.Fields(strings.ToLower(strings.Trim(strings.TrimSpace(string(body)), `"`)))
	all, err := s.visible(c)
	if err != nil {
		return err
	}
	page := events.Page{Results: []any{}}
	for _, m := range all {
		text := strings.ToLower(m.Owner + "/" + m.Name)
		if m.Description != nil {
			text += " " + strings.ToLower(*m.Description)
		}
		found := true
		for _, w := range words {
			found = found && strings.Contains(text, w)
		}
		if found {
			page.Results = append(page.Results, m)
		}
	}
	return c.writeJSON(http.StatusOK, page)
}

func (s *server) getModel(c *call) error {
	if m, ok := s.Catalogue.Model(c.PathValue("owner"), c.PathValue("model")); ok {
		return c.writeJSON(http.StatusOK, s.showBuiltInModel(c, m))
	}
	m, err := s.ownModel(c)
	if err != nil {
		return err
	}
	shown, err := s.showModel(c, m)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, shown)
}

var modelNamePattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?$`)

// createModel is POST /v1/models: a place for the versions that trainings make.
func (s *server) createModel(c *call) error {
	o, err := s.object(c)
	if err != nil {
		return err
	}
	m := registry.Model{CreatedAt: events.At(s.jobs.Now())}
	values := map[string]string{}
	for _, name := range []string{"owner", "name", "visibility", "hardware"} {
		if o[name] == nil {
			return events.Invalid("required", name, name+" is required")
		}
		if values[name], err = text(o, name); err != nil {
			return err
		}
	}
	for name, to := range map[string]**string{"description": &m.Description, "github_url": &m.GithubURL, "paper_url": &m.PaperURL, "license_url": &m.LicenseURL, "cover_image_url": &m.CoverImage} {
		v, err := text(o, name)
		if err != nil {
			return err
		}
		if len(v) > 2000 {
			return events.Invalid("string_lte", name, "String length must be less than or equal to 2000")
		}
		if v != "" {
			*to = &v
		}
	}
	m.Owner, m.Name, m.Visibility = events.Owner(values["owner"]), values["name"], values["visibility"]
	switch {
	case m.Owner != c.owner:
		return forbidden("You can make models only under your own name, " + string(c.owner) + ".")
	case !modelNamePattern.MatchString(m.Name):
		return events.Invalid("pattern", "name", "name must be 1 to 100 lower-case letters, digits, periods, hyphens and underscores, with a letter or digit first and last")
	case m.Visibility != "public" && m.Visibility != "private":
		return events.Invalid("enum", "visibility", `visibility must be one of the following: "public", "private"`)
	case !s.knownHardware(values["hardware"]):
		return events.Invalid("enum", "hardware", "hardware must be one of those that GET /v1/hardware lists")
	}
	err = s.reg.AddModel(c.Context(), m)
	if errors.Is(err, infra.ErrConflict) {
		return &problem{status: http.StatusConflict, title: "Conflict", detail: "A model with that name and owner already exists."}
	}
	if err != nil {
		return err
	}
	shown, err := s.showModel(c, m)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusCreated, shown)
}

// deleteModel is DELETE of a model of the caller's that has no versions left.
func (s *server) deleteModel(c *call) error {
	if _, ok := s.Catalogue.Model(c.PathValue("owner"), c.PathValue("model")); ok {
		return forbidden("Built-in models cannot be deleted.")
	}
	m, err := s.ownModel(c)
	if err != nil {
		return err
	}
	all, err := s.reg.Versions(c.Context(), c.owner, string(m.Owner)+"/"+m.Name)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return forbidden("Only models without versions can be deleted; delete the versions first.")
	}
	if err := s.reg.DeleteModel(c.Context(), c.owner, m.Name); err != nil {
		return err
	}
	c.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) knownHardware(sku string) bool {
	for _, h := range s.Hardware {
		if h.SKU == sku {
			return true
		}
	}
	return false
}
