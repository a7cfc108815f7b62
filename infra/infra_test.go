package infra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestKindOf(t *testing.T) {
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		err       error
		kind      Kind
		retryable bool
	}{
		"OK":          {nil, "", false},
		"Bare":        {ErrConflict, ErrConflict, false},
		"Error":       {&Error{Op: "op", Kind: ErrGone, Key: "k", Err: cause}, ErrGone, false},
		"Wrapped":     {fmt.Errorf("more: %w", &Error{Op: "op", Kind: ErrNotFound}), ErrNotFound, false},
		"Unavailable": {&Error{Op: "op", Kind: ErrUnavailable, Err: cause}, ErrUnavailable, true},
		"Unknown":     {cause, ErrUnavailable, true},
		"Canceled":    {fmt.Errorf("op: %w", context.Canceled), ErrUnavailable, false},
		"Deadline":    {&Error{Op: "op", Kind: ErrUnavailable, Err: context.DeadlineExceeded}, ErrUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KindOf(c.err); got != c.kind {
				t.Errorf("KindOf = %q, want %q", got, c.kind)
			}
			if got := Retryable(c.err); got != c.retryable {
				t.Errorf("Retryable = %v, want %v", got, c.retryable)
			}
		})
	}
	err := error(&Error{Op: "blobs.Put", Kind: ErrFull, Key: "a b", Err: cause})
	if got, want := err.Error(), `blobs.Put "a b": no space left: cause`; got != want || !errors.Is(err, cause) || !errors.Is(err, ErrFull) {
		t.Errorf("got %q, want %q, with kind and cause in the chain", got, want)
	}
}

func TestSleep(t *testing.T) {
	if err := Sleep(t.Context(), SystemClock{}, time.Microsecond); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []time.Duration{0, time.Hour} {
		if err := Sleep(ended, SystemClock{}, d); !errors.Is(err, context.Canceled) {
			t.Errorf("Sleep(%v) = %v, want the context's end", d, err)
		}
	}
}

// A key that is allowed survives a URL's path and an HTTP client's cleaning.
func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "uploads/é 写/a%2f+b.zip", "", "/", "a/", "a//b", "..", "a/../b", "./a", "\xff", "a\x00", strings.Repeat("k", MaxKey+1)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := CheckKey(key); err != nil {
			if KindOf(err) != ErrInvalid || !utf8.ValidString(err.Error()) {
				t.Errorf("CheckKey(%q) = %v", key, err)
			}
			return
		}
		u := (&url.URL{Scheme: "https", Host: "h", Path: "/" + key}).String()
		r, err := http.NewRequest("PUT", u, nil)
		if err != nil || r.URL.Path != "/"+key || r.URL.JoinPath().Path != "/"+key {
			t.Errorf("key %q became %v, %v", key, r, err)
		}
	})
}
