package bases

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Base is what the store knows of a base model.
type Base struct {
	Limits  events.BaseLimits `json:"limits"`
	Default bool              `json:"default,omitempty"` // drawn with when nothing is asked for
	Single  bool              `json:"single,omitempty"`  // one file, no folder
	Files   []File            `json:"files,omitempty"`   // none: it is inside the runner
}

// File is one file of a base.
type File struct {
	Path   string   `json:"path"` // inside the base's folder, with slashes
	Size   int64    `json:"size"` // bytes
	SHA256 string   `json:"sha256"`
	Pieces []string `json:"pieces"` // SHA-256 of each pieceSize bytes, the last may have fewer
}

// pieceSize is how many bytes of a file are stored, and fetched, as one blob.
const pieceSize = 32 << 20

// blobKey is where a piece is, whatever files it belongs to.
func blobKey(sha256 string) string { return "bases/" + sha256 }

const collection = "bases"

// ErrNone says that a deployment has no base model yet.
var ErrNone = errors.New("no base model is there yet: the first runner registers its own when it starts, `lowrank base add` adds others")

// Store keeps bases over an adapter's ports.
type Store struct {
	Blobs infra.Blobs
	Docs  infra.Documents
}

// List returns all bases, the default first.
func (s Store) List(ctx context.Context) ([]Base, error) {
	var all []Base
	for o := (infra.ListOptions{}); ; {
		page, err := s.Docs.List(ctx, collection, "", o)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Items {
			var b Base
			if err := json.Unmarshal(d.Value, &b); err != nil {
				return nil, fmt.Errorf("base %q: its document cannot be read: %w", d.Key, err)
			}
			all = append(all, b)
		}
		if o.Cursor = page.Next; o.Cursor == "" {
			break
		}
	}
	// Without a default it is the one inside the runner: it is always there.
	rank := func(b Base) int {
		switch {
		case b.Default:
			return 0
		case len(b.Files) == 0:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(all, func(a, b Base) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Limits.Name, b.Limits.Name))
	})
	return all, nil
}

// Catalogue is the catalogue of all bases. It is ErrNone when there is none.
func (s Store) Catalogue(ctx context.Context) (*events.Catalogue, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNone
	}
	var limits []events.BaseLimits
	for _, b := range all {
		limits = append(limits, b.Limits)
	}
	return events.NewCatalogue(limits...)
}

// Get reads one base. infra.ErrNotFound.
func (s Store) Get(ctx context.Context, name string) (Base, error) {
	var b Base
	d, err := s.Docs.Get(ctx, collection, name)
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(d.Value, &b)
}

// Register notes a base that is inside the runner. One that is there stays as it
// is, unless the runner now has another of that name.
func (s Store) Register(ctx context.Context, limits events.BaseLimits) error {
	for {
		d, err := s.Docs.Get(ctx, collection, limits.Name)
		if err != nil && !errors.Is(err, infra.ErrNotFound) {
			return err
		}
		was := Base{}
		if err == nil {
			if err := json.Unmarshal(d.Value, &was); err != nil {
				return fmt.Errorf("base %q: its document cannot be read: %w", limits.Name, err)
			}
			if was.Limits.SHA256 == limits.SHA256 {
				return nil
			}
		}
		err = s.put(ctx, Base{Limits: limits, Default: was.Default}, d.Version)
		if !errors.Is(err, infra.ErrConflict) {
			return err
		}
	}
}

func (s Store) put(ctx context.Context, b Base, version int64) error {
	value, err := events.Marshal(b)
	if err != nil {
		return err
	}
	_, err = s.Docs.Put(ctx, infra.Document{Collection: collection, Key: b.Limits.Name, Version: version, Value: value})
	return err
}

// Remove forgets a base and removes the pieces that no other base has.
func (s Store) Remove(ctx context.Context, name string) error {
	gone, err := s.Get(ctx, name)
	if err != nil {
		return err
	}
	if err := s.Docs.Delete(ctx, collection, name, infra.AnyVersion); err != nil {
		return err
	}
	rest, err := s.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, b := range rest {
		for _, f := range b.Files {
			for _, piece := range f.Pieces {
				used[piece] = true
			}
		}
	}
	for _, f := range gone.Files {
		for _, piece := range f.Pieces {
			if used[piece] {
				continue
			}
			if err := s.Blobs.Delete(ctx, blobKey(piece)); err != nil {
				return err
			}
		}
	}
	return nil
}
