package infra

import (
	"context"
	"encoding/json"
	"time"
)

// EventBus tells the world outside (EventBridge; locally a URL, or nobody).
type EventBus interface {
	// Publish returns once the event is accepted. Called again it delivers twice;
	// ID is the same then. Errors: ErrTooLarge (256 KB), ErrInvalid, ErrUnavailable.
	Publish(ctx context.Context, e Event) error
}

// Event is what EventBridge carries: detail-type, source and detail.
type Event struct {
	ID     string // stable, for those who must not act twice
	Source string // "lowrank"
	Type   string // detail-type: "lowrank.output.created"
	Time   time.Time
	Detail json.RawMessage
}
