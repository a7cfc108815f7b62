package infra

import (
	"context"
	"encoding/json"
	"time"
)

// Limits of records and logs.
const (
	MaxPayload  = 256 << 10 // bytes of a Record's payload, and of a Document's value
	MaxLogChunk = 256 << 10 // bytes of one Append
	MaxID       = 128       // bytes of a record's ID, Owner or Kind
)

// Record is one prediction as the store sees it: the attributes it finds records
// by, and a payload that it does not read.
type Record struct {
	ID      string // [A-Za-z0-9_-], at most MaxID bytes
	Version int64  // 1 when created, one more with each Update

	Owner     string    // never changes
	Kind      string    // "prediction" or "training"; never changes
	CreatedAt time.Time // never changes; orders lists; kept to the microsecond

	Status    string    // for filters of the change feed; the store gives it no meaning
	Open      bool      // counted by CountOpen
	UploadKey string    // the blob this record waits for; "" is none
	DueAt     time.Time // when the sweep must look at it, to the millisecond; zero is never

	Payload json.RawMessage
}

// Jobs holds the records. A record is changed only on condition of its version.
type Jobs interface {
	// Create stores r, which must not exist, as version 1 (r.Version is ignored)
	// and returns it so. ErrExists also when an earlier try took effect: the
	// caller compares.
	Create(ctx context.Context, r Record) (Record, error)

	// Get sees every write answered before. ErrNotFound.
	Get(ctx context.Context, id string) (Record, error)

	// Update replaces the record if its version still is r.Version, and returns
	// it with the next one. ErrConflict: it is another (perhaps because an earlier
	// try took effect): read again and decide anew. ErrNotFound: it was deleted.
	// ErrInvalid: a field that never changes was changed.
	Update(ctx context.Context, r Record) (Record, error)

	// Delete removes the record if its version still is version (AnyVersion:
	// whatever it is). A record that is not there is no error. ErrConflict.
	// Logs are deleted apart.
	Delete(ctx context.Context, id string, version int64) error
}

// AnyVersion in place of a version makes a write unconditional.
const AnyVersion int64 = -1

// JobIndex finds records, each through an index, never by a scan. What it returns
// may lag behind Jobs by a moment, in whole records: an item is one that was
// stored, perhaps not the newest.
type JobIndex interface {
	// List returns the owner's records newest first (then by ID, descending), at
	// most limit (1 to 100; 0: 100); kind "" is all kinds. Records created
	// meanwhile do not shift the pages that follow a cursor.
	// ErrInvalid: a cursor this list did not give.
	List(ctx context.Context, owner, kind, cursor string, limit int) (Page[Record], error)

	// CountOpen counts the owner's records with Open set.
	CountOpen(ctx context.Context, owner string) (int, error)

	// ByUpload returns the records whose UploadKey is key, at most 10.
	ByUpload(ctx context.Context, key string) ([]Record, error)

	// Due returns records whose DueAt is not after t, soonest first.
	Due(ctx context.Context, t time.Time, cursor string, limit int) (Page[Record], error)
}

// Logs holds the text each job writes, in chunks of its own: a record stays small.
type Logs interface {
	// Append adds chunk (1 to MaxLogChunk bytes) at offset, which must be the
	// log's length: else ErrConflict, another runner writes. The same chunk at the
	// same offset again is no error and adds nothing.
	Append(ctx context.Context, id string, offset int64, chunk []byte) error

	// Read returns the bytes from offset on, at most max (0: all). An offset at or
	// behind the end, or a log never written, is empty and no error.
	Read(ctx context.Context, id string, offset int64, max int) ([]byte, error)

	// Delete removes the log. May be called again.
	Delete(ctx context.Context, id string) error
}
