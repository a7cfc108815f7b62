package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// Registry keeps documents. It holds no state of its own.
type Registry struct{ docs infra.Documents }

// clock is what retries pause by: a real one, whatever tests make of the service's.
var clock infra.SystemClock

// Open makes a Registry over an adapter's documents.
func Open(docs infra.Documents) *Registry { return &Registry{docs} }

// get reads a document into v and returns its version. infra.ErrNotFound.
func (r *Registry) get(ctx context.Context, collection, key string, v any) (int64, error) {
	if key == "" || len(key) > infra.MaxKey {
		return 0, &infra.Error{Op: "registry.get", Kind: infra.ErrNotFound}
	}
	d, err := retry.Value(ctx, clock, func() (infra.Document, error) { return r.docs.Get(ctx, collection, key) })
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(d.Value, v); err != nil {
		return 0, fmt.Errorf("registry: %s cannot be read: %w", collection, err)
	}
	return d.Version, nil
}

// put stores v on condition of version: 0 for a new document, infra.AnyVersion for none. infra.ErrConflict
// may also mean that an earlier try took effect and its answer was lost.
func (r *Registry) put(ctx context.Context, collection, key string, version int64, v any) error {
	b, err := events.Marshal(v)
	if err != nil {
		return err
	}
	_, err = retry.Value(ctx, clock, func() (infra.Document, error) {
		return r.docs.Put(ctx, infra.Document{Collection: collection, Key: key, Version: version, Value: b})
	})
	return err
}

// remove deletes a document on condition of version.
func (r *Registry) remove(ctx context.Context, collection, key string, version int64) error {
	return retry.Do(ctx, clock, func() error { return r.docs.Delete(ctx, collection, key, version) })
}

// change reads, changes and writes a document until no one else wrote meanwhile. fn may run several
// times; false from it ends the loop without a write.
func change[T any](ctx context.Context, r *Registry, collection, key string, fn func(*T) bool) error {
	for {
		var v T
		version, err := r.get(ctx, collection, key, &v)
		if err != nil {
			return err
		}
		if !fn(&v) {
			return nil
		}
		err = r.put(ctx, collection, key, version, v)
		if !errors.Is(err, infra.ErrConflict) {
			return err
		}
	}
}

// list returns one page of a collection.
func list[T any](ctx context.Context, r *Registry, collection, prefix string, o infra.ListOptions) (infra.Page[T], error) {
	page, err := retry.Value(ctx, clock, func() (infra.Page[infra.Document], error) { return r.docs.List(ctx, collection, prefix, o) })
	out := infra.Page[T]{Next: page.Next}
	if err != nil {
		return out, err
	}
	for _, d := range page.Items {
		var v T
		if err := json.Unmarshal(d.Value, &v); err != nil {
			return out, fmt.Errorf("registry: %s cannot be read: %w", collection, err)
		}
		out.Items = append(out.Items, v)
	}
	return out, nil
}

// all returns a whole collection. It is for collections that stay small.
func all[T any](ctx context.Context, r *Registry, collection, prefix string) ([]T, error) {
	var out []T
	o := infra.ListOptions{}
	for {
		page, err := list[T](ctx, r, collection, prefix, o)
		out = append(out, page.Items...)
		if err != nil || page.Next == "" {
			return out, err
		}
		o.Cursor = page.Next
	}
}

// ownerCollection names an owner's collection. Owners are checked when their token is made.
func ownerCollection(kind string, o events.Owner) string { return kind + "/" + string(o) }
