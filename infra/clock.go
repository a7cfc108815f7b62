package infra

import (
	"context"
	"time"
)

// Clock is the time, so that tests can have another.
type Clock interface {
	Now() time.Time

	// After delivers the time once d has passed. Nothing leaks if no one receives.
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's clock, in UTC.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now().UTC() }

// After implements Clock.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Sleep waits for d on c; it returns ctx's error if that ends first.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.After(d):
		return nil
	}
}
