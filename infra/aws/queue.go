package aws

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/lowrank/lowrank/infra"
)

// queues implements infra.Queues over the URLs that Config names.
type queues Store

// Queue implements infra.Queues.
func (q *queues) Queue(name string) infra.Queue { return &queue{s: (*Store)(q), name: name} }

// queue implements infra.Queue over a standard queue and its dead letters' queue.
type queue struct {
	s    *Store
	name string
}

var _ infra.Queue = (*queue)(nil)

// deadSuffix follows a queue's name in the name of its dead letters' queue.
const deadSuffix = "-dead"

func (q *queue) url(op, suffix string) (*string, error) {
	url, ok := q.s.config.Queues[q.name+suffix]
	if !ok {
		return nil, &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: q.name, Err: fmt.Errorf("%s names no queue %q", QueuesEnv, q.name+suffix)}
	}
	return &url, nil
}

// seconds rounds up, since SQS counts in seconds.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// Send implements infra.Queue.
func (q *queue) Send(ctx context.Context, body []byte, delay time.Duration) error {
	const op = "queue.Send"
	switch {
	case len(body) > infra.MaxMessage:
		return tooLarge(op, q.name, int64(len(body)), infra.MaxMessage)
	case len(body) == 0 || !utf8.Valid(body):
		return invalid(op, q.name, "the body must be UTF-8 and not empty")
	case delay < 0 || delay > infra.MaxDelay:
		return invalid(op, q.name, "a delay of %v, the limit is %v", delay, infra.MaxDelay)
	}
	url, err := q.url(op, "")
	if err != nil {
		return err
	}
	_, err = q.s.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(string(body)), DelaySeconds: seconds(delay)})
	return failed(op, q.name, err)
}

// Receive implements infra.Queue.
func (q *queue) Receive(ctx context.Context, max int, wait, visibility time.Duration) ([]infra.Message, error) {
	const op = "queue.Receive"
	switch {
	case max < 1 || max > infra.MaxBatch:
		return nil, invalid(op, q.name, "%d messages at a time, the limit is %d", max, infra.MaxBatch)
	case wait < 0 || wait > infra.MaxWait:
		return nil, invalid(op, q.name, "a wait of %v, the limit is %v", wait, infra.MaxWait)
	case visibility < 0 || visibility > infra.MaxVisibility:
		return nil, invalid(op, q.name, "a visibility of %v, the limit is %v", visibility, infra.MaxVisibility)
	}
	url, err := q.url(op, "")
	if err != nil {
		return nil, err
	}
	messages, err := q.receive(ctx, url, max, wait, visibility)
	return messages, failed(op, q.name, err)
}

func (q *queue) receive(ctx context.Context, url *string, max int, wait, visibility time.Duration) ([]infra.Message, error) {
	out, err := q.s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: int32(max), WaitTimeSeconds: seconds(wait), VisibilityTimeout: seconds(visibility),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount, types.MessageSystemAttributeNameSentTimestamp},
	})
	if err != nil {
		return nil, err
	}
	var messages []infra.Message
	for _, m := range out.Messages {
		count, _ := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
		sent, _ := strconv.ParseInt(m.Attributes[string(types.MessageSystemAttributeNameSentTimestamp)], 10, 64)
		messages = append(messages, infra.Message{
			ID: aws.ToString(m.MessageId), Body: []byte(aws.ToString(m.Body)), Receipt: aws.ToString(m.ReceiptHandle),
			Receives: count, SentAt: time.UnixMilli(sent).UTC(),
		})
	}
	return messages, nil
}

// Extend implements infra.Queue.
func (q *queue) Extend(ctx context.Context, receipt string, visibility time.Duration) error {
	const op = "queue.Extend"
	if visibility < 0 || visibility > infra.MaxVisibility {
		return invalid(op, q.name, "a visibility of %v, the limit is %v", visibility, infra.MaxVisibility)
	}
	url, err := q.url(op, "")
	if err != nil {
		return err
	}
	_, err = q.s.sqs.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: &receipt, VisibilityTimeout: seconds(visibility)})
	return q.leaseFailed(op, err)
}

// leaseFailed is failed, that knows how SQS says of a lease that it is over.
func (q *queue) leaseFailed(op string, err error) error {
	var notInflight *types.MessageNotInflight
	var badReceipt *types.ReceiptHandleIsInvalid
	gone := errors.As(err, &notInflight) || errors.As(err, &badReceipt)
	if err != nil && !gone {
		// "Value … for parameter ReceiptHandle is invalid. Reason: …", with a general code.
		text := err.Error()
		gone = strings.Contains(text, "ReceiptHandle") && !strings.Contains(text, "VisibilityTimeout")
	}
	if gone {
		return &infra.Error{Op: op, Kind: infra.ErrGone, Key: q.name, Err: err}
	}
	return failed(op, q.name, err)
}

// Ack implements infra.Queue.
func (q *queue) Ack(ctx context.Context, receipt string) error {
	const op = "queue.Ack"
	url, err := q.url(op, "")
	if err != nil {
		return err
	}
	_, err = q.s.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: &receipt})
	return q.leaseFailed(op, err)
}

// Depth implements infra.Queue.
func (q *queue) Depth(ctx context.Context) (infra.Depth, error) {
	const op = "queue.Depth"
	ready, leased, err := q.count(ctx, op, "")
	if err != nil {
		return infra.Depth{}, err
	}
	dead, looked, err := q.count(ctx, op, deadSuffix)
	return infra.Depth{Waiting: ready, Leased: leased, Dead: dead + looked}, err
}

func (q *queue) count(ctx context.Context, op, suffix string) (ready, leased int, err error) {
	url, err := q.url(op, suffix)
	if err != nil {
		return 0, 0, err
	}
	const visible, delayed, hidden = types.QueueAttributeNameApproximateNumberOfMessages,
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible
	out, err := q.s.sqs.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: url, AttributeNames: []types.QueueAttributeName{visible, delayed, hidden}})
	if err != nil {
		return 0, 0, failed(op, q.name, err)
	}
	number := func(name types.QueueAttributeName) int {
		n, _ := strconv.Atoi(out.Attributes[string(name)])
		return n
	}
	return number(visible) + number(delayed), number(hidden), nil
}
