package registry

import (
	"context"
	"slices"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Model is a model that a user made, to be the destination of trainings.
type Model struct {
	Owner       events.Owner `json:"owner"`
	Name        string       `json:"name"`
	Description *string      `json:"description"`
	Visibility  string       `json:"visibility"` // public or private; either way only its owner sees it
	GithubURL   *string      `json:"github_url"`
	PaperURL    *string      `json:"paper_url"`
	LicenseURL  *string      `json:"license_url"`
	CoverImage  *string      `json:"cover_image_url"`
	CreatedAt   events.Time  `json:"created_at"`
}

// Version is a version that a training made: lora with the trained weights.
type Version struct {
	ID         string       `json:"id"`
	Model      string       `json:"model"` // owner/name
	Base       string       `json:"base"`
	WeightsKey string       `json:"weights_key"`
	Training   events.JobID `json:"training"`
	CreatedAt  events.Time  `json:"created_at"`
}

// AddModel stores a new model; infra.ErrConflict when the name is taken.
func (r *Registry) AddModel(ctx context.Context, m Model) error {
	err := r.put(ctx, ownerCollection("models", m.Owner), m.Name, 0, m)
	if infra.KindOf(err) != infra.ErrConflict {
		return err
	}
	// To the microsecond the same: an earlier try took effect.
	if there, gerr := r.Model(ctx, m.Owner, m.Name); gerr == nil && there.CreatedAt.Equal(m.CreatedAt.Time) {
		return nil
	}
	return err
}

// Model reads an owner's model. infra.ErrNotFound.
func (r *Registry) Model(ctx context.Context, o events.Owner, name string) (Model, error) {
	var m Model
	_, err := r.get(ctx, ownerCollection("models", o), name, &m)
	return m, err
}

// PutModel replaces a model.
func (r *Registry) PutModel(ctx context.Context, m Model) error {
	return r.put(ctx, ownerCollection("models", m.Owner), m.Name, infra.AnyVersion, m)
}

// Models lists an owner's models by name.
func (r *Registry) Models(ctx context.Context, o events.Owner) ([]Model, error) {
	return all[Model](ctx, r, ownerCollection("models", o), "")
}

// DeleteModel removes a model.
func (r *Registry) DeleteModel(ctx context.Context, o events.Owner, name string) error {
	return r.remove(ctx, ownerCollection("models", o), name, infra.AnyVersion)
}

// AddVersion stores a version. The same one again is no error and keeps its time.
func (r *Registry) AddVersion(ctx context.Context, o events.Owner, v Version) error {
	err := r.put(ctx, ownerCollection("versions", o), v.ID, 0, v)
	if infra.KindOf(err) == infra.ErrConflict {
		return nil // ids are hashes of what they name
	}
	return err
}

// Version reads an owner's version by its id. infra.ErrNotFound.
func (r *Registry) Version(ctx context.Context, o events.Owner, id string) (Version, error) {
	var v Version
	_, err := r.get(ctx, ownerCollection("versions", o), id, &v)
	return v, err
}

// Versions lists a model's versions, the latest first.
func (r *Registry) Versions(ctx context.Context, o events.Owner, model string) ([]Version, error) {
	vs, err := all[Version](ctx, r, ownerCollection("versions", o), "")
	vs = slices.DeleteFunc(vs, func(v Version) bool { return v.Model != model })
	slices.SortStableFunc(vs, func(a, b Version) int { return b.CreatedAt.Compare(a.CreatedAt.Time) })
	return vs, err
}

// DeleteVersion removes a version of that model; what it drew with stays. One that is not there is no error.
func (r *Registry) DeleteVersion(ctx context.Context, o events.Owner, model, id string) error {
	v, err := r.Version(ctx, o, id)
	if infra.KindOf(err) == infra.ErrNotFound || err == nil && v.Model != model {
		return nil
	}
	if err != nil {
		return err
	}
	return r.remove(ctx, ownerCollection("versions", o), id, infra.AnyVersion)
}
