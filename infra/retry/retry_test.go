package retry_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// instant never waits.
type instant struct{ infra.SystemClock }

func (instant) After(time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	c <- time.Time{}
	return c
}

func TestDo(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx   context.Context
		errs  []error // the last one repeats
		calls int
		want  error
	}{
		"OK":             {t.Context(), []error{nil}, 1, nil},
		"OKLater":        {t.Context(), []error{infra.ErrUnavailable, infra.ErrUnavailable, nil}, 3, nil},
		"ErrPermanent":   {t.Context(), []error{infra.ErrNotFound}, 1, infra.ErrNotFound},
		"ErrUnavailable": {t.Context(), []error{infra.ErrUnavailable}, 6, infra.ErrUnavailable},
		"ErrEnded":       {ended, []error{infra.ErrUnavailable}, 1, infra.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			got, err := retry.Value(tt.ctx, instant{}, func() (int, error) {
				calls++
				return calls, tt.errs[min(calls, len(tt.errs))-1]
			})
			if calls != tt.calls || got != tt.calls || !errors.Is(err, tt.want) {
				t.Errorf("%d calls, %d, %v; want %d, %v", calls, got, err, tt.calls, tt.want)
			}
		})
	}
}
