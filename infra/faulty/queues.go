package faulty

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/lowrank/lowrank/infra"
)

type queues struct {
	to infra.Queues
	f  *Faults
}

func (q *queues) Queue(name string) infra.Queue { return &queue{q.to.Queue(name), q.f} }

// queue: a Receive that fails after leaves its messages leased to nobody, and one
// that happens twice the first batch; they come back after their visibility.
type queue struct {
	to infra.Queue
	f  *Faults
}

func (q *queue) Send(ctx context.Context, body []byte, delay time.Duration) error {
	what, r := q.f.draw("queue.Send")
	_, err := meet(ctx, q.f, what, r, "queue.Send", func() (struct{}, error) {
		// Drawn anew for each of two, so that they come apart.
		return struct{}{}, q.to.Send(ctx, body, q.later(delay, r))
	})
	return err
}

// later is delay and some more, within the port's limit.
func (q *queue) later(delay time.Duration, r *rand.Rand) time.Duration {
	if !q.f.reorders() || delay > infra.MaxDelay {
		return delay
	}
	return min(delay+time.Duration(r.Int64N(int64(q.f.plan.Reorder))), infra.MaxDelay)
}

func (q *queue) Receive(ctx context.Context, max int, wait, visibility time.Duration) ([]infra.Message, error) {
	what, r := q.f.draw("queue.Receive")
	got, err := meet(ctx, q.f, what, r, "queue.Receive", func() ([]infra.Message, error) {
		return q.to.Receive(ctx, max, wait, visibility)
	})
	if q.f.reorders() {
		r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
	}
	return got, err
}

func (q *queue) Extend(ctx context.Context, receipt string, visibility time.Duration) error {
	return act(ctx, q.f, "queue.Extend", func() error { return q.to.Extend(ctx, receipt, visibility) })
}

func (q *queue) Ack(ctx context.Context, receipt string) error {
	return act(ctx, q.f, "queue.Ack", func() error { return q.to.Ack(ctx, receipt) })
}

func (q *queue) Depth(ctx context.Context) (infra.Depth, error) {
	return call(ctx, q.f, "queue.Depth", func() (infra.Depth, error) { return q.to.Depth(ctx) })
}

func (q *queue) DeadLetters(ctx context.Context, max int) ([]infra.Message, error) {
	return call(ctx, q.f, "queue.DeadLetters", func() ([]infra.Message, error) { return q.to.DeadLetters(ctx, max) })
}
