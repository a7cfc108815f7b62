// Package ingest acts on what arrives in the store: it marks uploads as received and starts the
// trainings that waited for them. Its messages are S3's notifications, in each form that S3 has.
//
// Outputs are notified too, for whoever else listens; nothing is to be done for them here, because
// the runner records their sizes and hashes in the same write that says succeeded.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
	"github.com/lowrank/lowrank/infra/retry"
)

// Ingester handles notifications. It may be used from several goroutines.
type Ingester struct {
	ports infra.Ports
	jobs  *predictions.Store
	reg   *registry.Registry
	limit int64
	log   *slog.Logger

	// Visibility is how long a notification is kept from other handlers; New sets 15 s.
	Visibility time.Duration
}

// poll is how long a read of the queue waits. In a Lambda no one waits.
const poll = 5 * time.Second

// New makes an Ingester. limit is how many bytes an upload may have; a store such as S3 cannot hold its
// presigned URLs to it.
func New(p infra.Ports, limit int64, log *slog.Logger) *Ingester {
	return &Ingester{ports: p, jobs: predictions.New(p), reg: registry.Open(p.Documents), limit: limit, log: infra.CutKeys(log), Visibility: 15 * time.Second}
}

// Handle acts on one notification. An error means that it must come again; doing so, or coming twice or
// out of order, does no harm.
func (in *Ingester) Handle(ctx context.Context, body []byte) error {
	objects, err := events.ParseObjectCreated(body)
	if err != nil {
		in.log.Error("a message of the objects' queue was dropped", "error", err)
		return nil // no number of tries makes it one
	}
	var errs []error
	for _, o := range objects {
		if token, _, ok := events.ParseUploadKey(o.Key); ok {
			if err := in.upload(ctx, token, o); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (in *Ingester) upload(ctx context.Context, token string, o events.ObjectCreated) error {
	waiting, err := in.jobs.Waiting(ctx, o.Key)
	if err != nil {
		return err
	}
	refusal := ""
	switch {
	case in.limit > 0 && o.Size > in.limit:
		refusal = fmt.Sprintf("The uploaded file has %d bytes; at most %d are taken.", o.Size, in.limit)
	case len(waiting) > 0:
		if refusal, err = in.judgeZip(ctx, o); err != nil {
			return err
		}
	}
	err = in.reg.Received(ctx, token, o, refusal)
	if errors.Is(err, infra.ErrNotFound) {
		return nil // expired, or data of a request that is being stored: its entry follows
	}
	if err != nil {
		return err
	}
	return in.jobs.Arrived(ctx, o, refusal)
}

// judgeZip looks at the first bytes of what a training waits for. What passes may still be broken: the
// runner reads it all.
func (in *Ingester) judgeZip(ctx context.Context, o events.ObjectCreated) (refusal string, err error) {
	blob, err := in.ports.Blobs.Get(ctx, o.Key, infra.GetOptions{Generation: o.Generation, Length: 512})
	if errors.Is(err, infra.ErrNotFound) {
		return "", nil // replaced or gone: the runner says so
	}
	if errors.Is(err, infra.ErrInvalid) || err == nil && o.Size == 0 {
		return "The uploaded file is empty; upload a zip of images.", nil
	}
	if err != nil {
		return "", err
	}
	defer blob.Body.Close()
	head, err := io.ReadAll(io.LimitReader(blob.Body, 512))
	if err != nil {
		return "", err
	}
	switch {
	case strings.HasPrefix(string(head), "PK\x03\x04"), strings.HasPrefix(string(head), "PK\x05\x06"), strings.HasPrefix(string(head), "PK\x07\x08"):
		return "", nil
	case strings.HasPrefix(http.DetectContentType(head), "text/html"):
		return "The uploaded file is a web page and no zip; upload a zip of images.", nil
	}
	return "The uploaded file is no zip; upload a zip of images.", nil
}

// Run handles the objects' queue until ctx ends.
func (in *Ingester) Run(ctx context.Context) {
	q := in.ports.Queues.Queue(infra.ObjectQueue)
	for ctx.Err() == nil {
		messages, err := q.Receive(ctx, infra.MaxBatch, poll, in.Visibility)
		if err != nil && ctx.Err() == nil {
			in.log.Warn("the objects' queue cannot be read", "error", err)
			_ = infra.Sleep(ctx, in.ports.Clock, time.Second) // ends early only with ctx
		}
		for _, m := range messages {
			if err := in.Handle(ctx, m.Body); err != nil {
				if ctx.Err() != nil {
					return
				}
				in.log.Warn("a notification will come again", "receives", m.Receives, "error", err)
				_ = q.Extend(ctx, m.Receipt, time.Duration(min(m.Receives, 30))*time.Second) // else it comes when its lease ends
				continue
			}
			ack := func() error { return q.Ack(ctx, m.Receipt) }
			if err := retry.Do(ctx, in.ports.Clock, ack); err != nil && ctx.Err() == nil {
				in.log.Warn("a notification may come again", "error", err)
			}
		}
	}
}
