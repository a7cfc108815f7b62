// Package retry repeats calls to ports that may pass by themselves (infra.Retryable), a few times within
// about a second. What it repeats must stand a repetition: see each port's comment.
package retry

import (
	"context"
	"time"

	"github.com/lowrank/lowrank/infra"
)

const (
	tries      = 6
	firstPause = 20 * time.Millisecond // doubled each time: 620 ms in all
)

// Do calls fn until it succeeds, fails for good, or has failed often enough; it returns fn's last error.
func Do(ctx context.Context, c infra.Clock, fn func() error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := fn()
		if err == nil || !infra.Retryable(err) || try == tries || infra.Sleep(ctx, c, pause) != nil {
			return err
		}
		pause *= 2
	}
}

// Value is Do for calls that return something.
func Value[T any](ctx context.Context, c infra.Clock, fn func() (T, error)) (v T, err error) {
	err = Do(ctx, c, func() error {
		v, err = fn()
		return err
	})
	return v, err
}
