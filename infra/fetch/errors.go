package fetch

import "github.com/lowrank/lowrank/infra"

// Error is a fetch that failed for good. Its text is one sentence for the user,
// without the URL; the cause is for errors.Is and As alone.
type Error struct {
	Sentence string
	Kind     infra.Kind // infra.ErrInvalid, or infra.ErrTooLarge
	Err      error      // may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Sentence }

// Unwrap gives errors.Is the kind first, so that infra.KindOf finds it.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func refuse(sentence string, cause error) error {
	return &Error{Sentence: sentence, Kind: infra.ErrInvalid, Err: cause}
}
