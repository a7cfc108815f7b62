package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// eventBus implements infra.EventBus: it posts to Options.EventsTo, in the envelope
// that EventBridge gives its targets, or tells nobody.
type eventBus Store

var _ infra.EventBus = (*eventBus)(nil)

// maxEvent is EventBridge's limit, in bytes.
const maxEvent = 256 << 10

// Publish implements infra.EventBus.
func (e *eventBus) Publish(ctx context.Context, event infra.Event) error {
	const op = "events.Publish"
	if event.ID == "" || event.Source == "" || event.Type == "" || !json.Valid(event.Detail) {
		return invalid(op, event.ID, "an event needs an ID, a source, a type and a detail in JSON")
	}
	body, err := json.Marshal(map[string]any{
		"version": "0", "id": event.ID, "source": event.Source, "detail-type": event.Type,
		"account": "local", "region": "local", "resources": []string{},
		"time": event.Time.UTC().Format(time.RFC3339), "detail": event.Detail,
	})
	if err != nil {
		return invalid(op, event.ID, "%v", err)
	}
	if len(body) > maxEvent {
		return tooLarge(op, event.ID, int64(len(body)), maxEvent)
	}
	if e.options.EventsTo == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.options.EventsTo, bytes.NewReader(body))
	if err != nil {
		return invalid(op, event.ID, "%v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.options.Client.Do(req)
	if err != nil {
		return failed(op, event.ID, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // keeps the connection usable
	if resp.StatusCode/100 != 2 {
		return failed(op, event.ID, fmt.Errorf("the receiver answered %s", resp.Status))
	}
	return nil
}
