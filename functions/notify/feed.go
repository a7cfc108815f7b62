package notify

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
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
}

// New makes a Notifier. client sends webhooks; it must refuse addresses that are not public, unless the
// deployment allows them. Redirects are not followed whatever it says.
func New(p infra.Ports, client *http.Client, log *slog.Logger) *Notifier {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Timeout = deliverTimeout
	return &Notifier{ports: p, jobs: predictions.New(p), reg: registry.Open(p.Documents), client: &c, log: log}
}

// Change turns one step in a job's life into messages. Called again it sends them again, which does no
// harm: an error means that it must be.
func (n *Notifier) Change(ctx context.Context, c infra.Change) error {
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
		if err := n.send(ctx, events.TypeWebhook, now.ID, 0); err != nil {
			return err
		}
	}
	if moved && now.Status == events.Succeeded {
		return n.send(ctx, events.TypeAnnounce, now.ID, 0)
	}
	return nil
}

func (n *Notifier) send(ctx context.Context, kind string, id events.JobID, delay time.Duration) error {
	body, err := events.Marshal(events.Deliver{Type: kind, ID: id})
	if err != nil {
		return err
	}
	return n.ports.Queues.Queue(infra.WebhookQueue).Send(ctx, body, delay)
}

// Run feeds and delivers until ctx ends, with that many deliverers.
func (n *Notifier) Run(ctx context.Context, deliverers int) {
	done := make(chan struct{})
	for range deliverers {
		go func() {
			defer func() { done <- struct{}{} }()
			n.deliverLoop(ctx)
		}()
	}
	n.feedLoop(ctx)
	for range deliverers {
		<-done
	}
}

func (n *Notifier) feedLoop(ctx context.Context) {
	for ctx.Err() == nil {
		if err := n.Feed(ctx, infra.MaxWait); err != nil && ctx.Err() == nil {
			n.log.Warn("changes will be read again", "error", err)
			_ = infra.Sleep(ctx, n.ports.Clock, time.Second) // ends early only with ctx
		}
	}
}

// Feed reads changes once, waiting for the first up to wait, and commits those that were acted on.
func (n *Notifier) Feed(ctx context.Context, wait time.Duration) error {
	changes, err := n.ports.Changes.Read(ctx, consumer, 0, wait)
	if err != nil {
		return err
	}
	done := ""
	for _, c := range changes {
		if err = n.Change(ctx, c); err != nil {
			break
		}
		done = c.Position
	}
	if done != "" {
		if cerr := n.ports.Changes.Commit(ctx, consumer, done); cerr != nil {
			return cerr
		}
	}
	return err
}

// deliverLoop handles the webhooks' queue.
func (n *Notifier) deliverLoop(ctx context.Context) {
	q := n.ports.Queues.Queue(infra.WebhookQueue)
	for ctx.Err() == nil {
		messages, err := q.Receive(ctx, 1, infra.MaxWait, 2*time.Minute)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("the webhooks' queue cannot be read", "error", err)
			_ = infra.Sleep(ctx, n.ports.Clock, time.Second) // ends early only with ctx
		}
		for _, m := range messages {
			if err := n.Handle(ctx, m.Body); err != nil {
				if ctx.Err() != nil {
					return
				}
				n.log.Warn("a delivery will be tried again", "receives", m.Receives, "error", err)
				_ = q.Extend(ctx, m.Receipt, time.Duration(min(1<<min(m.Receives, 9), 300))*time.Second) // else it comes when its lease ends
				continue
			}
			if err := q.Ack(ctx, m.Receipt); err != nil && ctx.Err() == nil {
				n.log.Warn("a delivery's message may come again", "error", err)
			}
		}
	}
}
