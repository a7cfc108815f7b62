package registry

import (
	"context"
	"errors"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// File is a file that its owner keeps here until deleting it.
type File struct {
	ID          string         `json:"id"` // sorts by time
	Name        string         `json:"name"`
	ContentType string         `json:"content_type"`
	Size        int64          `json:"size"`
	SHA256      string         `json:"sha256"`
	MD5         string         `json:"md5"`
	Metadata    map[string]any `json:"metadata"`
	CreatedAt   events.Time    `json:"created_at"`
	Key         string         `json:"key"`
	Generation  string         `json:"generation"`
}

// AddFile stores a new file's entry; its blob was put before.
func (r *Registry) AddFile(ctx context.Context, o events.Owner, f File) error {
	err := r.put(ctx, ownerCollection("files", o), f.ID, 0, f)
	if errors.Is(err, infra.ErrConflict) {
		return nil // its id is unguessable: an earlier try took effect
	}
	return err
}

// File reads an owner's file. infra.ErrNotFound.
func (r *Registry) File(ctx context.Context, o events.Owner, id string) (File, error) {
	var f File
	_, err := r.get(ctx, ownerCollection("files", o), id, &f)
	return f, err
}

// Files lists an owner's files, newest first, at most limit (1 to 100).
func (r *Registry) Files(ctx context.Context, o events.Owner, cursor string, limit int) (infra.Page[File], error) {
	return list[File](ctx, r, ownerCollection("files", o), "", infra.ListOptions{Cursor: cursor, Limit: limit, Reverse: true})
}

// DeleteFile removes a file's entry; its blob is removed after.
func (r *Registry) DeleteFile(ctx context.Context, o events.Owner, id string) error {
	return r.remove(ctx, ownerCollection("files", o), id, infra.AnyVersion)
}
