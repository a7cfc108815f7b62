package aws

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/lowrank/lowrank/infra"
)

// logs implements infra.Logs, one item a chunk, ordered by the offset in its key.
type logs Store

var _ infra.Logs = (*logs)(nil)

const (
	attrData = "data"
	attrSize = "size" // of data, so that the log's length can be read without it
)

func logKey(id string, offset int64) item {
	return item{attrPK: text("log#" + id), attrSK: text(sortable(offset))}
}

// Append implements infra.Logs. Two writers that saw the same length write the same
// key, and the second is refused.
func (l *logs) Append(ctx context.Context, id string, offset int64, chunk []byte) error {
	const op = "logs.Append"
	switch {
	case len(chunk) > infra.MaxLogChunk:
		return tooLarge(op, id, int64(len(chunk)), infra.MaxLogChunk)
	case len(chunk) == 0 || offset < 0:
		return invalid(op, id, "%d bytes at offset %d", len(chunk), offset)
	}
	length, err := l.length(ctx, id)
	if err != nil {
		return failed(op, id, err)
	}
	if offset == length {
		it := logKey(id, offset)
		it[attrData], it[attrSize] = &types.AttributeValueMemberB{Value: chunk}, number(int64(len(chunk)))
		_, err = l.dynamo.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: table((*Store)(l)), Item: it,
			ConditionExpression: aws.String("attribute_not_exists(#pk)"), ExpressionAttributeNames: names(attrPK),
		})
		if !isConditionFailed(err) {
			return failed(op, id, err)
		}
	}
	out, err := l.dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: table((*Store)(l)), Key: logKey(id, offset), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return failed(op, id, err)
	}
	if bytes.Equal(dataOf(out.Item), chunk) { // an earlier try took effect
		return nil
	}
	return &infra.Error{Op: op, Kind: infra.ErrConflict, Key: id, Err: fmt.Errorf("the log has %d bytes, not %d", length, offset)}
}

func dataOf(it item) []byte {
	b, _ := it[attrData].(*types.AttributeValueMemberB)
	if b == nil {
		return nil
	}
	return b.Value
}

// length is where the last chunk ends.
func (l *logs) length(ctx context.Context, id string) (int64, error) {
	in := l.chunks(id)
	in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(1)
	in.ProjectionExpression = aws.String("#sk, #size")
	in.ExpressionAttributeNames = names(attrPK, attrSK, attrSize)
	out, err := l.dynamo.Query(ctx, in)
	if err != nil || len(out.Items) == 0 {
		return 0, err
	}
	return offsetOf(out.Items[0]) + numberOf(out.Items[0][attrSize]), nil
}

// offsetOf undoes sortable.
func offsetOf(it item) int64 {
	var n uint64
	_, _ = fmt.Sscanf(textOf(it[attrSK]), "%x", &n)
	return int64(n ^ 1<<63)
}

// chunks queries a log's chunks.
func (l *logs) chunks(id string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: table((*Store)(l)), ConsistentRead: aws.Bool(true),
		KeyConditionExpression: aws.String("#pk = :pk"), ExpressionAttributeNames: names(attrPK),
		ExpressionAttributeValues: item{":pk": logKey(id, 0)[attrPK]},
	}
}

// Read implements infra.Logs.
func (l *logs) Read(ctx context.Context, id string, offset int64, max int) ([]byte, error) {
	const op = "logs.Read"
	if offset < 0 || max < 0 {
		return nil, invalid(op, id, "at most %d bytes from offset %d", max, offset)
	}
	var all []byte
	if offset > 0 {
		// The chunk that holds offset begins at or before it. Asking for it alone
		// costs one small item; a runner reads its log's end each second.
		in := l.chunks(id)
		in.KeyConditionExpression = aws.String("#pk = :pk AND #sk <= :from")
		in.ExpressionAttributeNames = names(attrPK, attrSK)
		in.ExpressionAttributeValues[":from"] = text(sortable(offset))
		in.ScanIndexForward, in.Limit = aws.Bool(false), aws.Int32(1)
		out, err := l.dynamo.Query(ctx, in)
		if err != nil {
			return nil, failed(op, id, err)
		}
		for _, it := range out.Items {
			data := dataOf(it)
			all = append(all, data[min(offset-offsetOf(it), int64(len(data))):]...)
		}
	}
	in := l.chunks(id)
	if offset > 0 {
		in.KeyConditionExpression = aws.String("#pk = :pk AND #sk > :from")
		in.ExpressionAttributeNames = names(attrPK, attrSK)
		in.ExpressionAttributeValues[":from"] = text(sortable(offset))
	}
	for max == 0 || len(all) < max {
		out, err := l.dynamo.Query(ctx, in)
		if err != nil {
			return nil, failed(op, id, err)
		}
		for _, it := range out.Items {
			all = append(all, dataOf(it)...)
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			break
		}
	}
	if max > 0 && len(all) > max {
		all = all[:max]
	}
	return all, nil
}

// Delete implements infra.Logs.
func (l *logs) Delete(ctx context.Context, id string) error {
	const op = "logs.Delete"
	in := l.chunks(id)
	in.ProjectionExpression = aws.String("#pk, #sk")
	in.ExpressionAttributeNames = names(attrPK, attrSK)
	for {
		out, err := l.dynamo.Query(ctx, in)
		if err != nil {
			return failed(op, id, err)
		}
		const atOnce = 25 // BatchWriteItem's limit
		for batch := range slices.Chunk(out.Items, atOnce) {
			if err := l.remove(ctx, batch); err != nil {
				return failed(op, id, err)
			}
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			return nil
		}
	}
}

func (l *logs) remove(ctx context.Context, keys []item) error {
	var requests []types.WriteRequest
	for _, k := range keys {
		requests = append(requests, types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: k}})
	}
	pending := map[string][]types.WriteRequest{l.config.Table: requests}
	for try := 0; len(pending) > 0; try++ {
		out, err := l.dynamo.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: pending})
		if err != nil {
			return err
		}
		pending = out.UnprocessedItems
		if err := unprocessed(ctx, (*Store)(l), len(pending), try); err != nil {
			return err
		}
	}
	return nil
}
