package infra

import (
	"context"
	"time"
)

// Changes is the change feed of Jobs: every Create, Update and Delete that took
// effect, at least once; those of one record in the order of their versions.
// It survives restarts and keeps a change at least 24 hours or until every
// consumer that it knows has committed it.
type Changes interface {
	// Read returns up to max changes (0: 100) that follow the consumer's
	// checkpoint, waiting up to wait for the first; none is no error. A consumer
	// it has not seen begins with the oldest change kept. Reading moves nothing:
	// without a Commit the same changes come again. One process reads for a
	// consumer at a time; two of them see the same changes twice.
	Read(ctx context.Context, consumer string, max int, wait time.Duration) ([]Change, error)

	// Commit moves the checkpoint to behind the change with this position, one
	// of those that the last Read returned; changes before it in that Read are
	// committed with it. It never moves back. May be called again.
	Commit(ctx context.Context, consumer, position string) error
}

// Change is one step in the life of a record.
type Change struct {
	Position string  // opaque; for Commit
	ID       string  // the record's
	Old      *Record // nil when it was created
	New      *Record // nil when it was deleted
}
