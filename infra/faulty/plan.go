package faulty

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Plan says how often which fault happens: probabilities from 0 to 1 for each
// call, at most one fault a call, together at most 1. The zero Plan is no fault.
type Plan struct {
	Seed uint64

	FailBefore float64 // infra.ErrUnavailable, and nothing happened
	FailAfter  float64 // it happened, and infra.ErrUnavailable
	Twice      float64 // it happens twice, and the second answer is given
	Slow       float64 // it happens after up to MaxSlow of real time
	Break      float64 // blobs only: a body breaks off half way; the other ports take it for FailBefore

	MaxSlow time.Duration // default 20 ms
	Reorder time.Duration // every Send is delayed by up to this much more; batches are shuffled

	// Only, if set, says which operations meet faults: "jobs.Update", "queue.Send",
	// by port and method.
	Only func(op string) bool
}

// Faults is what happens to the wrapped ports. Safe for concurrent use.
type Faults struct {
	plan Plan

	mu     sync.Mutex
	off    bool
	calls  map[string]uint64
	counts map[string]int
}

// A fault is what happens to one call.
type fault int

const (
	none fault = iota
	failBefore
	failAfter
	twice
	slow
	breakBody
)

// names of the faults in Counts.
var names = [...]string{none: "none", failBefore: "before", failAfter: "after", twice: "twice", slow: "slow", breakBody: "break"}

// errInjected is the cause in every error made here.
var errInjected = errors.New("fault injected by the test")

// Injected reports whether err was made here.
func Injected(err error) bool { return errors.Is(err, errInjected) }

func unavailable(op string) error {
	return &infra.Error{Op: op, Kind: infra.ErrUnavailable, Err: errInjected}
}

// Off ends all faults, so that a test can look at what is left.
func (f *Faults) Off() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

// Counts returns how often each fault happened to each operation, by
// "operation fault", as in "queue.Send twice"; calls without one are "none". A
// test looks here to see that what it meant to survive did happen.
func (f *Faults) Counts() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make(map[string]int, len(f.counts))
	for k, n := range f.counts {
		all[k] = n
	}
	return all
}

// draw decides what happens to this call of op, and gives the random numbers for
// the details.
func (f *Faults) draw(op string) (fault, *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.calls[op]
	f.calls[op]++
	h := fnv.New64a()
	h.Write([]byte(op))
	r := rand.New(rand.NewPCG(f.plan.Seed^h.Sum64(), n))
	what := none
	if !f.off && (f.plan.Only == nil || f.plan.Only(op)) {
		x := r.Float64()
		for _, c := range []struct {
			what fault
			p    float64
		}{{failBefore, f.plan.FailBefore}, {failAfter, f.plan.FailAfter}, {twice, f.plan.Twice}, {slow, f.plan.Slow}, {breakBody, f.plan.Break}} {
			if x -= c.p; x < 0 {
				what = c.what
				break
			}
		}
	}
	f.counts[op+" "+names[what]]++
	return what, r
}

// reorders reports whether messages may change places now.
func (f *Faults) reorders() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.off && f.plan.Reorder > 0
}

// call makes do meet the fault of this call of op.
func call[T any](ctx context.Context, f *Faults, op string, do func() (T, error)) (T, error) {
	what, r := f.draw(op)
	return meet(ctx, f, what, r, op, do)
}

// meet makes do meet one fault.
func meet[T any](ctx context.Context, f *Faults, what fault, r *rand.Rand, op string, do func() (T, error)) (T, error) {
	var lost T
	switch what {
	case failBefore, breakBody:
		return lost, unavailable(op)
	case failAfter:
		do()
		return lost, unavailable(op)
	case twice:
		do()
	case slow:
		longest := f.plan.MaxSlow
		if longest <= 0 {
			longest = 20 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(r.Int64N(int64(longest)))):
		}
	}
	return do()
}

// act is call for operations that answer nothing but an error.
func act(ctx context.Context, f *Faults, op string, do func() error) error {
	_, err := call(ctx, f, op, func() (struct{}, error) { return struct{}{}, do() })
	return err
}
