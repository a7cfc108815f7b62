package notify

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
	"github.com/lowrank/lowrank/infra/retry"
)

// consumer is the change feed's name for this package.
const consumer = "notify"

// Notifier feeds and delivers. It may be used from several goroutines.
type Notifier struct {
	ports  infra.Ports
	jobs   *predictions.Store
	reg    *registry.Registry
	client *http.Client
	log    *slog.Logger
	places places

	// Visibility is how long a message is kept from other deliverers; New sets 15 s. One that comes again while
	// its job is being told finds the job held.
	Visibility time.Duration
}

// poll is how long a read of a queue waits. In a Lambda no one waits.
const poll = 5 * time.Second

// New makes a Notifier. client sends webhooks; it must refuse addresses that are not public, unless the
// deployment allows them. Redirects are not followed whatever it says.
func New(p infra.Ports, client *http.Client, log *slog.Logger) *Notifier {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Timeout = deliverTimeout
	return &Notifier{ports: p, jobs: predictions.New(p), reg: registry.Open(p.Documents), client: &c, log: infra.CutKeys(log), Visibility: 15 * time.Second}
}

// Change turns one step in a job's life into messages. Called again it sends them again, which does no
// harm: an error means that it must be.
func (n *Notifier) Change(ctx context.Context, c infra.Change) error {
	for _, m := range n.causes(c) {
		if err := n.send(ctx, m, 0); err != nil {
			return err
		}
	}
	return nil
}

// causes are the messages that a change causes.
func (n *Notifier) causes(c infra.Change) (out []events.Deliver) {
	if c.New == nil {
		return nil
	}
	now, err := predictions.Decode(*c.New)
	if err != nil {
		n.log.Error("a change was skipped", "error", err)
		return nil
	}
	was := events.Job{}
	if c.Old != nil {
		if was, err = predictions.Decode(*c.Old); err != nil {
			n.log.Error("a change was skipped", "error", err)
			return nil
		}
	}
	if now.Deleted {
		return nil
	}
	moved := now.Status != was.Status
	if now.Webhook != nil && (moved && now.Status != events.Starting || now.LogSize > was.LogSize && now.Webhook.Wants(events.WebhookLogs)) {
		out = append(out, events.Deliver{Type: events.TypeWebhook, ID: now.ID})
	}
	if moved && now.Status == events.Succeeded {
		out = append(out, events.Deliver{Type: events.TypeAnnounce, ID: now.ID})
	}
	return out
}

func (n *Notifier) send(ctx context.Context, m events.Deliver, delay time.Duration) error {
	body, err := events.Marshal(m)
	if err != nil {
		return err
	}
	q := n.ports.Queues.Queue(infra.WebhookQueue)
	return retry.Do(ctx, n.ports.Clock, func() error { return q.Send(ctx, body, delay) })
}

// Run feeds and delivers until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	var delivering sync.WaitGroup
	delivering.Go(func() { n.deliverLoop(ctx) })
	n.feedLoop(ctx)
	delivering.Wait()
}

func (n *Notifier) feedLoop(ctx context.Context) {
	for ctx.Err() == nil {
		if err := n.Feed(ctx, poll); err != nil && ctx.Err() == nil {
			n.log.Warn("changes will be read again", "error", err)
			_ = infra.Sleep(ctx, n.ports.Clock, time.Second) // ends early only with ctx
		}
	}
}

// Feed reads changes once, waiting for the first up to wait, and commits those that were acted on. Several
// changes of one job that are read together cause one message: what it finds is the newest anyway.
func (n *Notifier) Feed(ctx context.Context, wait time.Duration) error {
	changes, err := n.ports.Changes.Read(ctx, consumer, 0, wait)
	if err != nil {
		return err
	}
	done, sent := "", map[events.Deliver]bool{}
	for _, c := range changes {
		for _, m := range n.causes(c) {
			if sent[m] {
				continue
			}
			if err = n.send(ctx, m, 0); err != nil {
				break
			}
			sent[m] = true
		}
		if err != nil {
			break
		}
		done = c.Position
	}
	if done != "" {
		cerr := retry.Do(ctx, n.ports.Clock, func() error { return n.ports.Changes.Commit(ctx, consumer, done) })
		if cerr != nil {
			return cerr
		}
	}
	return err
}

// deliverLoop takes messages from the webhooks' queue, as many as there are deliverers free, and gives each to one.
// Only this goroutine polls, so that deliverers without work cost nothing.
func (n *Notifier) deliverLoop(ctx context.Context) {
	q := n.ports.Queues.Queue(infra.WebhookQueue)
	busy := make(chan struct{}, deliverers)
	var done sync.WaitGroup
	defer done.Wait()
	for ctx.Err() == nil {
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
			return
		}
		free := 1
		for free < infra.MaxBatch && len(busy) < cap(busy) { // no one else adds to it
			busy <- struct{}{}
			free++
		}
		messages, err := q.Receive(ctx, free, poll, n.Visibility)
		for range free - len(messages) {
			<-busy
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("the webhooks' queue cannot be read", "error", err)
			_ = infra.Sleep(ctx, n.ports.Clock, time.Second) // ends early only with ctx
		}
		for _, m := range messages {
			done.Go(func() {
				defer func() { <-busy }()
				n.handOn(ctx, n.received(ctx, q, m))
			})
		}
	}
}

// received handles one message and says what became of it to its queue, before the place is handed on to next.
func (n *Notifier) received(ctx context.Context, q infra.Queue, m infra.Message) (next *turn) {
	next, err := n.handle(ctx, m.Body)
	if err != nil {
		if ctx.Err() == nil {
			n.log.Warn("a delivery will be tried again", "receives", m.Receives, "error", err)
			_ = q.Extend(ctx, m.Receipt, time.Duration(min(1<<min(m.Receives, 9), 300))*time.Second) // else it comes when its lease ends
		}
		return next
	}
	ack := func() error { return q.Ack(ctx, m.Receipt) }
	if err := retry.Do(ctx, n.ports.Clock, ack); err != nil && ctx.Err() == nil {
		n.log.Warn("a delivery's message may come again", "error", err)
	}
	return next
}
