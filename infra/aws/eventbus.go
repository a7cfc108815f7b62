package aws

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"github.com/lowrank/lowrank/infra"
)

// events implements infra.EventBus. EventBridge gives every delivery an id of its
// own; the stable one is in the detail, where publishers put it.
type events Store

var _ infra.EventBus = (*events)(nil)

// maxEvent is the limit of an entry in bytes, counted as "Calculating Amazon
// EventBridge event entry size" in its user guide does.
const maxEvent = 256 << 10

// Publish implements infra.EventBus.
func (e *events) Publish(ctx context.Context, event infra.Event) error {
	const op = "events.Publish"
	if event.ID == "" || event.Source == "" || event.Type == "" || !json.Valid(event.Detail) {
		return invalid(op, event.ID, "an event needs an ID, a source, a type and a detail in JSON")
	}
	const timeSize = 14
	if size := timeSize + len(event.Source) + len(event.Type) + len(event.Detail); size > maxEvent {
		return tooLarge(op, event.ID, int64(size), maxEvent)
	}
	out, err := e.bus.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: optional(e.config.Bus), Source: &event.Source, DetailType: &event.Type,
		Detail: aws.String(string(event.Detail)), Time: aws.Time(event.Time),
	}}})
	if err != nil {
		return failed(op, event.ID, err)
	}
	if out.FailedEntryCount == 0 {
		return nil
	}
	// An entry is refused by itself while the call succeeds.
	kind, code := infra.ErrUnavailable, aws.ToString(out.Entries[0].ErrorCode)
	switch code {
	case "InvalidArgument", "MalformedDetail", "InvalidDetailType", "NotAuthorizedForDetailTypeException", "NotAuthorizedForSourceException":
		kind = infra.ErrInvalid
	}
	return &infra.Error{Op: op, Kind: kind, Key: event.ID, Err: fmt.Errorf("%s: %s", code, aws.ToString(out.Entries[0].ErrorMessage))}
}
