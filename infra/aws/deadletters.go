package aws

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/lowrank/lowrank/infra"
)

const (
	// lookFor is how long dead letters are hidden while they are looked at: longer
	// than a look may take, so that none is seen twice in it.
	lookFor = time.Minute
	// lookAtMost is when a look ends with what it has.
	lookAtMost = 20 * time.Second
)

// DeadLetters implements infra.Queue. SQS has no way to look without taking, so
// what is taken is given back at once. Two looks at the same time share the letters.
func (q *queue) DeadLetters(ctx context.Context, max int) ([]infra.Message, error) {
	const op = "queue.DeadLetters"
	url, err := q.url(op, deadSuffix)
	if err != nil {
		return nil, err
	}
	var letters []infra.Message
	for begun := q.s.clock.Now(); len(letters) < max && q.s.clock.Now().Sub(begun) < lookAtMost; {
		// A wait of one second asks all of the queue's servers, none asks a few.
		batch, rerr := q.receive(ctx, url, min(max-len(letters), infra.MaxBatch), time.Second, lookFor)
		letters = append(letters, batch...)
		if err = rerr; err != nil || len(batch) == 0 {
			break
		}
	}
	if gerr := q.giveBack(context.WithoutCancel(ctx), url, letters); err == nil {
		err = gerr
	}
	if err != nil {
		return nil, failed(op, q.name, err)
	}
	for i := range letters {
		letters[i].Receipt = ""
	}
	slices.SortStableFunc(letters, func(a, b infra.Message) int { return a.SentAt.Compare(b.SentAt) })
	return letters, nil
}

func (q *queue) giveBack(ctx context.Context, url *string, letters []infra.Message) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	for batch := range slices.Chunk(letters, infra.MaxBatch) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url}
		for i := range batch {
			id := strconv.Itoa(i)
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{Id: &id, ReceiptHandle: &batch[i].Receipt})
		}
		// One that cannot be given back comes back by itself within a minute.
		if _, err := q.s.sqs.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			return err
		}
	}
	return nil
}
