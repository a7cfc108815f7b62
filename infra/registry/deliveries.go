package registry

import (
	"context"
	"errors"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/retry"
)

// Delivery is how far the webhooks of one job are.
type Delivery struct {
	Started   bool        `json:"started,omitempty"`   // "start" was sent
	LogSize   int64       `json:"log_size,omitempty"`  // bytes of log in the last "logs"
	LoggedAt  events.Time `json:"logged_at"`           // when that was
	Output    bool        `json:"output,omitempty"`    // "output" was sent
	Completed bool        `json:"completed,omitempty"` // "completed" was taken, or given up
	Attempts  int         `json:"attempts,omitempty"`  // at "completed"
	RetryAt   events.Time `json:"retry_at"`            // of "completed"

	Holder string      `json:"holder,omitempty"` // who delivers just now
	Until  events.Time `json:"until"`            // and until when at most
	Again  int64       `json:"again,omitempty"`  // counts what happened while someone delivered

	version int64
}

const deliveryCollection = "deliveries"

// Delivery reads a job's delivery; a new one when there is none.
func (r *Registry) Delivery(ctx context.Context, id events.JobID) (Delivery, error) {
	var d Delivery
	version, err := r.get(ctx, deliveryCollection, string(id), &d)
	if errors.Is(err, infra.ErrNotFound) {
		return Delivery{}, nil
	}
	d.version = version
	return d, err
}

// PutDelivery stores d if no one else wrote since it was read, and makes it the newest. infra.ErrConflict.
func (r *Registry) PutDelivery(ctx context.Context, id events.JobID, d *Delivery) error {
	b, err := events.Marshal(d)
	if err != nil {
		return err
	}
	doc, err := retry.Value(ctx, clock, func() (infra.Document, error) {
		return r.docs.Put(ctx, infra.Document{Collection: deliveryCollection, Key: string(id), Version: d.version, Value: b})
	})
	if err == nil {
		d.version = doc.Version
	}
	return err
}

// DeleteDelivery forgets a job's delivery.
func (r *Registry) DeleteDelivery(ctx context.Context, id events.JobID) error {
	return r.remove(ctx, deliveryCollection, string(id), infra.AnyVersion)
}
