package notify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/fetch"
	"github.com/lowrank/lowrank/infra/registry"
)

const (
	deliverTimeout = 5 * time.Second
	holdFor        = 20 * time.Second       // one deliverer has a job's webhooks at most this long without a sign
	logsEvery      = 500 * time.Millisecond // between "logs" of one job
	maxAttempts    = 7                      // at the terminal event: after 0, 1, 2, 4, 8, 16 and 32 s, 63 s in all
	turnLasts      = time.Second            // a job whose events took as long lets others of its receiver go first,
	turnPause      = 100 * time.Millisecond // for as long
)

// Handle acts on one message of the webhooks' queue. An error means that it must come again.
func (n *Notifier) Handle(ctx context.Context, body []byte) error {
	next, err := n.handle(ctx, body)
	n.handOn(ctx, next)
	return err
}

// handle is Handle but for the place that it leaves: next has it, if another waited for it.
func (n *Notifier) handle(ctx context.Context, body []byte) (next *turn, err error) {
	m, err := events.ParseDeliver(body)
	if err != nil {
		n.log.Error("a message of the webhooks' queue was dropped", "error", err)
		return nil, nil
	}
	t := turn{message: m}
	if m.Type == events.TypeWebhook {
		j, err := n.jobs.Load(ctx, m.ID)
		if errors.Is(err, infra.ErrNotFound) {
			return nil, n.reg.DeleteDelivery(ctx, m.ID)
		}
		if err != nil || j.Webhook == nil {
			return nil, err
		}
		if d, err := n.reg.Delivery(ctx, m.ID); err != nil || d.Completed {
			return nil, err
		}
		t.receiver = receiverOf(&j)
	}
	ok, again := n.places.enter(t, n.ports.Clock.Now())
	if ok {
		return n.serve(ctx, t)
	}
	if again > 0 {
		if err := n.send(ctx, m, again); err != nil {
			n.places.withdraw(t, n.ports.Clock.Now())
			return nil, err
		}
	}
	return nil, nil
}

// handOn serves those who waited for a place, one after the other. What fails comes again: its message is on
// its way since it began to wait.
func (n *Notifier) handOn(ctx context.Context, next *turn) {
	for next != nil {
		t, err := *next, error(nil)
		if next, err = n.serve(ctx, t); err != nil && ctx.Err() == nil {
			n.log.Warn("a delivery will be tried again", "error", err)
		}
	}
}

// serve acts on a message that has its place, and leaves that.
func (n *Notifier) serve(ctx context.Context, t turn) (next *turn, err error) {
	defer func() { next = n.places.leave(t, n.ports.Clock.Now()) }()
	if t.message.Type == events.TypeAnnounce {
		return nil, n.announce(ctx, t.message.ID)
	}
	again, err := n.deliver(ctx, t.message.ID)
	if err != nil || again <= 0 {
		return nil, err
	}
	return nil, n.send(ctx, t.message, again)
}

// announce publishes the outputs of a job, once its record says succeeded.
func (n *Notifier) announce(ctx context.Context, id events.JobID) error {
	j, err := n.jobs.Load(ctx, id)
	if errors.Is(err, infra.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, a := range j.Announcements() {
		detail, err := events.Marshal(a)
		if err != nil {
			return err
		}
		err = n.ports.Events.Publish(ctx, infra.Event{ID: a.ID, Source: events.EventSource, Type: events.OutputCreatedType, Time: j.CompletedAt.Time, Detail: detail})
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver sends what is due to a job's webhook, in order, and returns after how long it must be called
// again (0: not at all).
func (n *Notifier) deliver(ctx context.Context, id events.JobID) (again time.Duration, err error) {
	d, wait, err := n.claim(ctx, id)
	if err != nil || d.Completed || wait > 0 {
		return wait, err
	}
	for took := time.Duration(0); ; {
		j, err := n.jobs.Load(ctx, id)
		if errors.Is(err, infra.ErrNotFound) {
			return 0, n.reg.DeleteDelivery(ctx, id)
		}
		if err != nil {
			return 0, err
		}
		event, due := next(&j, &d, n.ports.Clock.Now())
		if !due || took >= turnLasts {
			wait := time.Duration(0)
			switch {
			case due:
				wait = turnPause
			case event != "":
				wait = max(d.RetryAt.Sub(n.ports.Clock.Now()), time.Second)
			}
			released, err := n.release(ctx, id, &d)
			if err != nil || released {
				return wait, err
			}
			continue // something happened meanwhile
		}
		begun := n.ports.Clock.Now()
		end, err := n.post(ctx, &j, event)
		if err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err() // stopping: the receiver did not fail
		}
		now, ok := n.ports.Clock.Now(), end == taken
		took += now.Sub(begun)
		n.places.heard(receiverOf(&j), end == unanswered, now)
		note(&j, &d, event, ok, now)
		if d.Completed && !ok {
			n.log.Warn("a webhook's last event was given up", "job", string(id), "attempts", d.Attempts)
		}
		if err := n.keep(ctx, id, &d); err != nil {
			return 0, err
		}
	}
}

// next says which event is to be sent now. One that has to wait, for its next try or for the time since
// the last log, is returned with due false. Who does not hear of the end gets the log's last lines as logs.
func next(j *events.Job, d *registry.Delivery, now time.Time) (event events.WebhookEvent, due bool) {
	w := j.Webhook
	switch {
	case w == nil || d.Completed:
		return "", false
	case w.Wants(events.WebhookStart) && !d.Started && !j.StartedAt.IsZero():
		return events.WebhookStart, true
	case w.Wants(events.WebhookLogs) && j.LogSize > d.LogSize && !(j.Status.Terminal() && w.Wants(events.WebhookCompleted)):
		return events.WebhookLogs, now.Sub(d.LoggedAt.Time) >= logsEvery
	case !j.Status.Terminal():
		return "", false
	case j.Status == events.Succeeded && w.Wants(events.WebhookOutput) && !d.Output:
		return events.WebhookOutput, true
	case w.Wants(events.WebhookCompleted):
		return events.WebhookCompleted, !now.Before(d.RetryAt.Time)
	}
	return "", false
}

// note writes down that an event was sent. Only the terminal one is tried again.
func note(j *events.Job, d *registry.Delivery, event events.WebhookEvent, ok bool, now time.Time) {
	switch event {
	case events.WebhookStart:
		d.Started = true
	case events.WebhookLogs:
		d.LogSize, d.LoggedAt = j.LogSize, events.At(now)
	case events.WebhookOutput:
		d.Output = true
	case events.WebhookCompleted:
		d.Attempts++
		d.Completed = ok || d.Attempts >= maxAttempts
		d.RetryAt = events.At(now.Add(time.Second << (d.Attempts - 1)))
	}
	d.Until = events.At(now.Add(holdFor))
}

// outcome is what became of one event.
type outcome int

const (
	refused    outcome = iota // or the receiver was not reached
	unanswered                // in time
	taken
)

// post sends one event. An error is our own.
func (n *Notifier) post(ctx context.Context, j *events.Job, event events.WebhookEvent) (outcome, error) {
	body, seq, err := n.body(ctx, j, event)
	if err != nil {
		return refused, err
	}
	secret, err := n.reg.WebhookSecret(ctx, j.Owner)
	if err != nil {
		return refused, err
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return refused, err
	}
	id, at := deliveryID(j.ID, event, seq), n.ports.Clock.Now()
	signature, err := signer.Sign(id, at, body)
	if err != nil {
		return refused, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.Webhook.URL, bytes.NewReader(body))
	if err != nil {
		return refused, nil // checked when the job was made; no later try is better
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "lowrank")
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	resp, err := n.client.Do(req)
	if err != nil {
		n.log.Info("a webhook was not taken", "job", string(j.ID), "event", string(event), "why", unreached(err))
		if fetch.TimedOut(err) {
			return unanswered, nil
		}
		return refused, nil
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // keeps the connection usable; what it says is not read
	if resp.StatusCode/100 != 2 {
		n.log.Info("a webhook was not taken", "job", string(j.ID), "event", string(event), "why", fmt.Sprint("the receiver answered ", resp.StatusCode))
		return refused, nil
	}
	return taken, nil
}

// unreached says why a receiver was not reached, without the error's own text: it
// holds the URL's host, and that may be a secret of the user's.
func unreached(err error) string {
	var lookup *net.DNSError
	switch {
	case errors.Is(err, fetch.ErrPrivate):
		return fetch.ErrPrivate.Error()
	case errors.As(err, &lookup):
		return "the URL's host was not found"
	case fetch.TimedOut(err):
		return "the receiver did not answer in time"
	}
	return "the receiver could not be reached"
}

// body is what an event carries, and the number that tells its repetitions apart.
func (n *Notifier) body(ctx context.Context, j *events.Job, event events.WebhookEvent) (body []byte, seq int64, err error) {
	log := ""
	if event != events.WebhookStart {
		if log, err = n.jobs.Log(ctx, j); err != nil {
			return nil, 0, err
		}
	}
	var v events.Prediction
	switch event {
	case events.WebhookStart:
		started := j.AsStarted()
		v = started.View("")
	case events.WebhookLogs:
		started := j.AsStarted()
		v = started.View(log)
	case events.WebhookOutput:
		v = j.OutputView(log)
	default:
		v = j.View(log)
	}
	if event == events.WebhookLogs {
		seq = j.LogSize
	}
	body, err = events.Marshal(v)
	return body, seq, err
}

// deliveryID follows from what is told, so that a receiver knows a repetition.
func deliveryID(id events.JobID, event events.WebhookEvent, seq int64) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", id, event, seq))
	return "msg_" + strings.ToLower(base32.StdEncoding.EncodeToString(h[:])[:26])
}

// claim takes a job's webhooks. When another deliverer has them it is told to look again, and wait is
// after how long to come back, should it have died.
func (n *Notifier) claim(ctx context.Context, id events.JobID) (d registry.Delivery, wait time.Duration, err error) {
	holder := events.NewID()
	for {
		if d, err = n.reg.Delivery(ctx, id); err != nil || d.Completed || d.Holder == holder {
			return d, 0, err // held already: the answer to an earlier try was lost
		}
		now := n.ports.Clock.Now()
		wait = 0
		if d.Holder != "" && now.Before(d.Until.Time) {
			d.Again++
			wait = d.Until.Sub(now) + time.Second
		} else {
			d.Holder, d.Until = holder, events.At(now.Add(holdFor))
		}
		err = n.reg.PutDelivery(ctx, id, &d)
		if !errors.Is(err, infra.ErrConflict) {
			return d, wait, err
		}
	}
}

// keep stores how far the deliverer is.
func (n *Notifier) keep(ctx context.Context, id events.JobID, d *registry.Delivery) error {
	for {
		err := n.reg.PutDelivery(ctx, id, d)
		if !errors.Is(err, infra.ErrConflict) {
			return err
		}
		now, err := n.reg.Delivery(ctx, id)
		if err != nil {
			return err
		}
		if now.Holder != d.Holder {
			return fmt.Errorf("webhooks of %s: another deliverer took over", id)
		}
		progress := *d
		*d = now // the newest version, and what others asked for
		d.Started, d.LogSize, d.LoggedAt, d.Output = progress.Started, progress.LogSize, progress.LoggedAt, progress.Output
		d.Completed, d.Attempts, d.RetryAt, d.Until = progress.Completed, progress.Attempts, progress.RetryAt, progress.Until
	}
}

// release lets go of the job's webhooks, unless someone asked for another look meanwhile.
func (n *Notifier) release(ctx context.Context, id events.JobID, d *registry.Delivery) (released bool, err error) {
	free := *d
	free.Holder, free.Until = "", events.Time{}
	err = n.reg.PutDelivery(ctx, id, &free)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, infra.ErrConflict) {
		return false, err
	}
	now, err := n.reg.Delivery(ctx, id)
	if err != nil {
		return false, err
	}
	if now.Holder != d.Holder {
		return true, nil // the earlier try took effect, or another has it now
	}
	*d = now
	return false, nil
}
