package infra

import (
	"context"
	"encoding/json"
)

// MaxCollection is the limit of a collection's name in bytes.
const MaxCollection = 200

// Documents holds small values: tokens' hashes, owners' settings, the registry of
// files, trained models. A collection is a name of at most MaxCollection bytes ("tokens",
// "files/alice"); a key is 1 to MaxKey bytes of UTF-8 in any form.
type Documents interface {
	// Get sees every write answered before. ErrNotFound.
	Get(ctx context.Context, collection, key string) (Document, error)

	// Put stores d on condition that the version there is d.Version: 0 for a
	// document that must not exist, AnyVersion for no condition. It returns the
	// stored document with its new version, which never repeats for this key
	// while the document lives. ErrConflict: another version, or one where none
	// must be (perhaps because an earlier try took effect).
	Put(ctx context.Context, d Document) (Document, error)

	// Delete removes the document on condition of its version (AnyVersion: none).
	// One that is not there is no error. ErrConflict.
	Delete(ctx context.Context, collection, key string, version int64) error

	// List returns the documents whose key begins with prefix in the order of the
	// keys' bytes, or in reverse; at most limit (1 to 100; 0: 100).
	// ErrInvalid: a cursor this list did not give.
	List(ctx context.Context, collection, prefix string, o ListOptions) (Page[Document], error)
}

// ListOptions choose a page of Documents.List.
type ListOptions struct {
	Cursor  string
	Limit   int
	Reverse bool
}

// Document is a small value.
type Document struct {
	Collection string
	Key        string
	Version    int64
	Value      json.RawMessage // at most MaxPayload bytes
}
