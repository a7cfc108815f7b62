package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Upload is a place for one file, made by POST /v1/upload/{name} (or for data that came inside a request).
type Upload struct {
	Token     string       `json:"token"` // unguessable; sorts by time
	Owner     events.Owner `json:"owner"`
	Name      string       `json:"name"` // the user's
	Key       string       `json:"key"`  // the blob's
	CreatedAt events.Time  `json:"created_at"`
	UsedAt    events.Time  `json:"used_at"` // when a job last named it
	// Jobs named it and had not ended when last looked at.
	Jobs []events.JobID `json:"jobs,omitempty"`
	// Of the newest generation that arrived; zero until then.
	ReceivedAt events.Time `json:"received_at"`
	Generation string      `json:"generation,omitempty"`
	ETag       string      `json:"etag,omitempty"`
	Size       int64       `json:"size,omitempty"`
	// Refused says why what arrived cannot be used, "" when it can.
	Refused string `json:"refused,omitempty"`
}

const uploadCollection = "uploads"

// AddUpload stores a new upload.
func (r *Registry) AddUpload(ctx context.Context, u Upload) error {
	err := r.put(ctx, uploadCollection, u.Token, 0, u)
	if errors.Is(err, infra.ErrConflict) {
		return nil // its token is unguessable: an earlier try took effect
	}
	return err
}

// Upload reads an upload. infra.ErrNotFound.
func (r *Registry) Upload(ctx context.Context, token string) (Upload, error) {
	var u Upload
	_, err := r.get(ctx, uploadCollection, token, &u)
	return u, err
}

// Received notes that an object arrived. An event that is older than the one noted changes nothing.
func (r *Registry) Received(ctx context.Context, token string, o events.ObjectCreated, refused string) error {
	return change(ctx, r, uploadCollection, token, func(u *Upload) bool {
		if u.Generation == o.Generation && !u.ReceivedAt.IsZero() || o.Time.Before(u.ReceivedAt.Time) {
			return false
		}
		u.ReceivedAt, u.Generation, u.ETag, u.Size, u.Refused = o.Time, o.Generation, o.ETag, o.Size, refused
		return true
	})
}

// Use notes that a job needs the upload, before the job is stored.
func (r *Registry) Use(ctx context.Context, token string, id events.JobID, now time.Time) error {
	return change(ctx, r, uploadCollection, token, func(u *Upload) bool {
		if slices.Contains(u.Jobs, id) {
			return false
		}
		u.Jobs, u.UsedAt = append(u.Jobs, id), events.At(now)
		// What an upload needs is to know whether any job is unfinished; the sweep forgets the others.
		if len(u.Jobs) > 1000 {
			u.Jobs = u.Jobs[len(u.Jobs)-1000:]
		}
		return true
	})
}

// ExpireUploads removes uploads, with their blobs, that no job has named for ttl and that no unfinished
// job needs. ended says whether a job has ended or is gone. It returns how many were removed.
func (r *Registry) ExpireUploads(ctx context.Context, blobs infra.Blobs, now time.Time, ttl time.Duration, ended func(context.Context, events.JobID) (bool, error)) (removed int, err error) {
	o := infra.ListOptions{}
	for {
		page, err := list[Upload](ctx, r, uploadCollection, "", o)
		if err != nil {
			return removed, err
		}
		for _, u := range page.Items {
			if now.Sub(u.CreatedAt.Time) < ttl {
				return removed, nil // tokens sort by time: all that follow are younger
			}
			if now.Sub(u.UsedAt.Time) < ttl || now.Sub(u.ReceivedAt.Time) < ttl {
				continue
			}
			gone, err := r.expireUpload(ctx, blobs, u.Token, ended)
			if err != nil {
				return removed, err
			}
			if gone {
				removed++
			}
		}
		if page.Next == "" {
			return removed, nil
		}
		o.Cursor = page.Next
	}
}

// expireUpload removes one upload unless a job needs it. The document goes first, on condition that no
// job has named it meanwhile; a blob that a crash then leaves is unreachable and small in number.
func (r *Registry) expireUpload(ctx context.Context, blobs infra.Blobs, token string, ended func(context.Context, events.JobID) (bool, error)) (bool, error) {
	var u Upload
	version, err := r.get(ctx, uploadCollection, token, &u)
	if errors.Is(err, infra.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, id := range u.Jobs {
		if done, err := ended(ctx, id); err != nil || !done {
			return false, err
		}
	}
	err = r.remove(ctx, uploadCollection, token, version)
	if errors.Is(err, infra.ErrConflict) {
		return false, nil // a job has just named it
	}
	if err != nil {
		return false, err
	}
	return true, blobs.Delete(ctx, u.Key)
}
