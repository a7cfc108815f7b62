package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws"
)

// log is what Lambdas write.
func log() *slog.Logger { return infra.CutKeys(slog.Default()) }

// Queue handles the messages of q that an event source mapping brings. One that
// fails comes again by itself, later each time; the others are done.
func Queue(q infra.Queue, handle func(ctx context.Context, body []byte) error) func(context.Context, lambdaevents.SQSEvent) (lambdaevents.SQSEventResponse, error) {
	return func(ctx context.Context, event lambdaevents.SQSEvent) (lambdaevents.SQSEventResponse, error) {
		// Never null: an emulator takes that for an error.
		failed := []lambdaevents.SQSBatchItemFailure{}
		for _, m := range event.Records {
			err := handle(ctx, []byte(m.Body))
			if err == nil {
				continue
			}
			receives, _ := strconv.Atoi(m.Attributes["ApproximateReceiveCount"])
			log().Warn("a message will come again", "queue", m.EventSourceARN, "receives", receives, "error", err)
			failed = append(failed, lambdaevents.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
			pause := time.Duration(min(1<<min(max(receives, 0), 9), 300)) * time.Second
			if err := q.Extend(ctx, m.ReceiptHandle, pause); err != nil {
				log().Warn("its pause could not be set; it comes when its lease ends", "error", err)
			}
		}
		return lambdaevents.SQSEventResponse{BatchItemFailures: failed}, nil
	}
}

// Changes handles the changes of records that an event source mapping on the
// table's stream brings. What follows a failure comes again with it, so the order
// stays.
func Changes(handle func(context.Context, infra.Change) error) func(context.Context, json.RawMessage) (lambdaevents.DynamoDBEventResponse, error) {
	return func(ctx context.Context, event json.RawMessage) (lambdaevents.DynamoDBEventResponse, error) {
		out := lambdaevents.DynamoDBEventResponse{BatchItemFailures: []lambdaevents.DynamoDBBatchItemFailure{}}
		changes, err := aws.StreamChanges(event)
		if err != nil {
			return out, err
		}
		for _, c := range changes {
			if err := handle(ctx, c.Change); err != nil {
				log().Warn("changes will come again", "record", c.ID, "error", err)
				out.BatchItemFailures = append(out.BatchItemFailures, lambdaevents.DynamoDBBatchItemFailure{ItemIdentifier: c.Sequence})
				break
			}
		}
		return out, nil
	}
}
