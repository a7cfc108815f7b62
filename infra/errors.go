package infra

import (
	"context"
	"errors"
	"fmt"
)

// A Kind says what sort of failure an error is, whatever adapter it came from.
// The set is closed. Kinds are errors themselves: errors.Is(err, infra.ErrNotFound).
type Kind string

// The kinds. All but ErrUnavailable are permanent: the same call fails again
// until something else changes.
const (
	ErrNotFound    Kind = "not found"         // no such key, record, generation or document
	ErrExists      Kind = "exists already"    // Create or IfAbsent met an older one
	ErrConflict    Kind = "changed meanwhile" // a conditional write met another version: read again
	ErrInvalid     Kind = "invalid"           // the caller's argument can never work: a bad key, cursor or range
	ErrTooLarge    Kind = "too large"         // over a limit of this package
	ErrGone        Kind = "lease lost"        // a receipt whose message is acknowledged or given to another
	ErrFull        Kind = "no space left"     // the disk or quota is full; nothing was written
	ErrUnavailable Kind = "not available now" // throttled, timed out, locked, 5xx: may pass by itself
	ErrInUse       Kind = "in use by another" // another process holds what only one may hold
)

// Error implements error.
func (k Kind) Error() string { return string(k) }

// Error is an operation, the kind of its failure, and the cause. The text is for
// operators: it may name keys, never contents.
type Error struct {
	Op   string // "blobs.Put", "jobs.Update"
	Kind Kind
	Key  string // what the operation was about; may be empty
	Err  error  // the cause; may be nil
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Op
	if e.Key != "" {
		s += fmt.Sprintf(" %q", e.Key)
	}
	s += ": " + string(e.Kind)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// KindOf returns the kind of err: "" for nil, ErrUnavailable for an error that
// carries none (an unknown failure is taken to be one that may pass).
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return ErrUnavailable
}

// Retryable reports whether the same call may succeed later with nothing else
// changed. A context that ended is not retryable: its owner gave up.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return KindOf(err) == ErrUnavailable
}
