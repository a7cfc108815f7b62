package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/lowrank/lowrank/infra"
)

// changes implements infra.Changes over the table's stream, for consumers that are
// no Lambda: those are handed the same records by their event source mapping
// (StreamChanges), which keeps its own checkpoint.
//
// A consumer's checkpoints, one a shard, are one item. A Read returns changes of
// one shard, the one whose next change is the oldest, so a position is a shard and
// a sequence number in it. DynamoDB keeps changes for 24 hours.
type changes Store

var _ infra.Changes = (*changes)(nil)

const (
	attrShards = "shards"
	// checkpointAge is how long a checkpoint outlives its consumer's last commit:
	// longer than what it points to.
	checkpointAge = 7 * 24 * time.Hour
	// streamPoll is the pause between looks at a shard, which allows five a second.
	streamPoll = 250 * time.Millisecond
)

// streamArn finds the stream once.
type streamArn struct {
	mu  sync.Mutex
	arn string
}

func (c *changes) arn(ctx context.Context) (string, error) {
	c.streamArn.mu.Lock()
	defer c.streamArn.mu.Unlock()
	if c.streamArn.arn != "" {
		return c.streamArn.arn, nil
	}
	out, err := c.dynamo.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &c.config.Table})
	if err != nil {
		return "", err
	}
	if out.Table.LatestStreamArn == nil {
		return "", fmt.Errorf("table %s has no stream", c.config.Table)
	}
	c.streamArn.arn = *out.Table.LatestStreamArn
	return c.streamArn.arn, nil
}

func checkpointKey(consumer string) item {
	return item{attrPK: text("feed#" + consumer), attrSK: text("checkpoint")}
}

// Read implements infra.Changes.
func (c *changes) Read(ctx context.Context, consumer string, max int, wait time.Duration) ([]infra.Change, error) {
	const op = "changes.Read"
	if consumer == "" {
		return nil, invalid(op, "", "a consumer needs a name")
	}
	if max <= 0 || max > 1000 {
		max = 100
	}
	done, err := c.checkpoints(ctx, consumer)
	if err != nil {
		return nil, failed(op, consumer, err)
	}
	r := reader{c: c, done: done, iterators: map[string]*string{}}
	for deadline := c.clock.Now().Add(wait); ; {
		found, err := r.look(ctx, max)
		if err != nil {
			return nil, failed(op, consumer, err)
		}
		if len(found) > 0 || !c.clock.Now().Before(deadline) {
			return found, nil
		}
		if err := infra.Sleep(ctx, c.clock, streamPoll); err != nil {
			return nil, err
		}
	}
}

// checkpoints returns the sequence number that the consumer committed, by shard.
func (c *changes) checkpoints(ctx context.Context, consumer string) (map[string]string, error) {
	out, err := c.dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: &c.config.Table, Key: checkpointKey(consumer), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	done := map[string]string{}
	if s := textOf(out.Item[attrShards]); s != "" {
		err = json.Unmarshal([]byte(s), &done)
	}
	return done, err
}

// reader is one Read. It goes on from where its last look ended, because an answer
// of a stream may be empty though more follows.
type reader struct {
	c         *changes
	done      map[string]string  // committed sequence number by shard
	iterators map[string]*string // by shard; nil once it has ended
}

// look asks every shard that may be read now for its next changes and returns the
// batch that begins first.
func (r *reader) look(ctx context.Context, max int) ([]infra.Change, error) {
	arn, err := r.c.arn(ctx)
	if err != nil {
		return nil, err
	}
	shards, err := r.c.shards(ctx, arn)
	if err != nil {
		return nil, err
	}
	var best []streams.Record
	var bestShard string
	unread := map[string]bool{} // shards that have changes left
	for _, s := range shards {
		id := aws.ToString(s.ShardId)
		if unread[aws.ToString(s.ParentShardId)] { // a record's changes go on in the child
			unread[id] = true
			continue
		}
		records, ended, err := r.next(ctx, arn, id, max)
		if err != nil {
			return nil, err
		}
		unread[id] = len(records) > 0 || !ended
		if len(records) > 0 && (best == nil || before(records[0], best[0])) {
			best, bestShard = records, id
		}
	}
	var found []infra.Change
	for _, record := range best {
		change, ok, err := changeOf(record)
		if err != nil {
			return nil, err
		}
		change.Position = bestShard + "/" + aws.ToString(record.Dynamodb.SequenceNumber)
		if ok {
			found = append(found, change)
		}
	}
	return found, nil
}

func before(a, b streams.Record) bool {
	at := func(r streams.Record) time.Time { return aws.ToTime(r.Dynamodb.ApproximateCreationDateTime) }
	return at(a).Before(at(b)) || at(a).Equal(at(b)) && less(aws.ToString(a.Dynamodb.SequenceNumber), aws.ToString(b.Dynamodb.SequenceNumber))
}

// less compares sequence numbers, which are decimal and may be long.
func less(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return len(a) < len(b) || len(a) == len(b) && a < b
}

// shards lists the stream's shards, parents before their children.
func (c *changes) shards(ctx context.Context, arn string) ([]streams.Shard, error) {
	var all []streams.Shard
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &arn}
	for {
		out, err := c.streams.DescribeStream(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, out.StreamDescription.Shards...)
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			break
		}
	}
	known := map[string]streams.Shard{}
	for _, s := range all {
		known[aws.ToString(s.ShardId)] = s
	}
	ordered := make([]streams.Shard, 0, len(all))
	var place func(id string)
	place = func(id string) {
		s, ok := known[id]
		if !ok { // placed, or its changes are no longer kept
			return
		}
		delete(known, id)
		place(aws.ToString(s.ParentShardId))
		ordered = append(ordered, s)
	}
	for _, s := range all {
		place(aws.ToString(s.ShardId))
	}
	return ordered, nil
}

// next reads a shard behind its checkpoint, passing over the changes of items that
// are no records. ended says that nothing can follow.
func (r *reader) next(ctx context.Context, arn, shard string, max int) (records []streams.Record, ended bool, err error) {
	iterator, open := r.iterators[shard]
	if !open {
		if iterator, err = r.iterator(ctx, arn, shard); err != nil {
			return nil, false, err
		}
	}
	for iterator != nil {
		out, err := r.c.streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(int32(max))})
		var trimmed *streams.TrimmedDataAccessException
		var expired *streams.ExpiredIteratorException
		if errors.As(err, &trimmed) || errors.As(err, &expired) {
			delete(r.iterators, shard)
			return nil, false, nil // the next look begins with the oldest kept
		}
		if err != nil {
			return nil, false, err
		}
		passed := len(out.Records) > 0
		for _, record := range out.Records {
			if strings.HasPrefix(streamText(record.Dynamodb.Keys[attrPK]), recordPrefix) {
				records = append(records, record)
			}
		}
		r.iterators[shard] = out.NextShardIterator
		if len(records) > 0 || !passed {
			return records, out.NextShardIterator == nil && len(records) == 0, nil
		}
		iterator = out.NextShardIterator // only documents and logs: look on
	}
	return nil, true, nil
}

func (r *reader) iterator(ctx context.Context, arn, shard string) (*string, error) {
	in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: &shard, ShardIteratorType: streams.ShardIteratorTypeTrimHorizon}
	if seq := r.done[shard]; seq != "" {
		in.ShardIteratorType, in.SequenceNumber = streams.ShardIteratorTypeAfterSequenceNumber, &seq
	}
	out, err := r.c.streams.GetShardIterator(ctx, in)
	var trimmed *streams.TrimmedDataAccessException
	if errors.As(err, &trimmed) && in.SequenceNumber != nil {
		in.ShardIteratorType, in.SequenceNumber = streams.ShardIteratorTypeTrimHorizon, nil
		out, err = r.c.streams.GetShardIterator(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	return out.ShardIterator, nil
}

// Commit implements infra.Changes.
func (c *changes) Commit(ctx context.Context, consumer, position string) error {
	const op = "changes.Commit"
	shard, seq, ok := strings.Cut(position, "/")
	if !ok || consumer == "" || seq == "" || strings.Trim(seq, "0123456789") != "" {
		return invalid(op, consumer, "position %q is not one that Read gave", position)
	}
	for {
		out, err := c.dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: &c.config.Table, Key: checkpointKey(consumer), ConsistentRead: aws.Bool(true)})
		if err != nil {
			return failed(op, consumer, err)
		}
		done := map[string]string{}
		was := textOf(out.Item[attrShards])
		if was != "" {
			if err := json.Unmarshal([]byte(was), &done); err != nil {
				return failed(op, consumer, err)
			}
		}
		if !less(done[shard], seq) {
			return nil // never back
		}
		done[shard] = seq
		now, err := json.Marshal(done)
		if err != nil {
			return failed(op, consumer, err)
		}
		it := checkpointKey(consumer)
		it[attrShards], it[attrExpires] = text(string(now)), number(c.clock.Now().Add(checkpointAge).Unix())
		in := &dynamodb.PutItemInput{
			TableName: &c.config.Table, Item: it, ExpressionAttributeNames: names(attrShards),
			ConditionExpression: aws.String("attribute_not_exists(#shards)"),
		}
		if was != "" {
			in.ConditionExpression = aws.String("#shards = :was")
			in.ExpressionAttributeValues = map[string]types.AttributeValue{":was": text(was)}
		}
		_, err = c.dynamo.PutItem(ctx, in)
		if !isConditionFailed(err) {
			return failed(op, consumer, err)
		}
	}
}
