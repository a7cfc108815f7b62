package aws

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/lowrank/lowrank/infra"
)

// maxPage is the longest page of records and documents.
const maxPage = 100

func pageLimit(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}

// index is one index: its hash key and its range key.
type index struct{ name, hash, at string }

var (
	byOwner  = index{indexOwner, attrOwner, attrAt}
	byKind   = index{indexKind, attrOwnerKind, attrAt}
	byOpen   = index{indexOpen, attrOpenOwner, attrAt}
	byUpload = index{indexUpload, attrUpload, attrAt}
	byDue    = index{indexDue, attrDueSet, attrDueAt}
)

// List implements infra.JobIndex.
func (j *jobs) List(ctx context.Context, owner, kind, after string, limit int) (infra.Page[infra.Record], error) {
	const op = "jobs.List"
	ix, hash := byOwner, owner
	if kind != "" {
		ix, hash = byKind, ownerKind(owner, kind)
	}
	if owner == "" {
		return infra.Page[infra.Record]{}, nil
	}
	return j.page(ctx, op, ix, hash, "", after, limit, false)
}

// Due implements infra.JobIndex.
func (j *jobs) Due(ctx context.Context, t time.Time, after string, limit int) (infra.Page[infra.Record], error) {
	// Every range key of this millisecond sorts before the next one's first.
	return j.page(ctx, "jobs.Due", byDue, dueSet, sortable(t.UnixMilli()+1), after, limit, true)
}

// page reads one page of an index, below the range key `below` unless that is "",
// and then the records themselves. Those deleted since are left out, so a page may
// be short or empty and still have a next one.
func (j *jobs) page(ctx context.Context, op string, ix index, hash, below, after string, limit int, forward bool) (page infra.Page[infra.Record], err error) {
	mark := scope(ix.name, hash)
	last, err := parseCursor(op, after, mark)
	if err != nil {
		return page, err
	}
	limit = pageLimit(limit)
	in := j.query(ix, hash)
	in.ScanIndexForward, in.Limit = aws.Bool(forward), aws.Int32(int32(limit+1))
	if below != "" {
		in.KeyConditionExpression = aws.String(*in.KeyConditionExpression + " AND #at < :below")
		in.ExpressionAttributeNames["#at"] = ix.at
		in.ExpressionAttributeValues[":below"] = text(below)
	}
	if last != "" {
		_, id, ok := strings.Cut(last, "#")
		if !ok {
			return page, invalid(op, "", "the cursor is not one that this list gave; begin again without it")
		}
		in.ExclusiveStartKey = recordKey(id)
		in.ExclusiveStartKey[ix.hash], in.ExclusiveStartKey[ix.at] = text(hash), text(last)
	}
	var found []item
	for {
		out, err := j.dynamo.Query(ctx, in)
		if err != nil {
			return page, failed(op, "", err)
		}
		found = append(found, out.Items...)
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil || len(found) > limit {
			break
		}
	}
	if len(found) > limit {
		found = found[:limit]
		page.Next = cursor{Scope: mark, Last: []byte(textOf(found[limit-1][ix.at]))}.String()
	}
	page.Items, err = j.fetch(ctx, found)
	return page, failed(op, "", err)
}

func (j *jobs) query(ix index, hash string) *dynamodb.QueryInput {
	return &dynamodb.QueryInput{
		TableName: table((*Store)(j)), IndexName: aws.String(ix.name), KeyConditionExpression: aws.String("#hash = :hash"),
		ExpressionAttributeNames:  map[string]string{"#hash": ix.hash},
		ExpressionAttributeValues: item{":hash": text(hash)},
	}
}

// fetch reads the records that index entries stand for, in their order.
func (j *jobs) fetch(ctx context.Context, entries []item) ([]infra.Record, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	keys := make([]map[string]types.AttributeValue, len(entries))
	for i, e := range entries {
		keys[i] = item{attrPK: e[attrPK], attrSK: e[attrSK]}
	}
	byID := map[string]infra.Record{}
	pending := map[string]types.KeysAndAttributes{j.config.Table: {Keys: keys, ConsistentRead: aws.Bool(true)}}
	for try := 0; len(pending) > 0; try++ {
		out, err := j.dynamo.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: pending})
		if err != nil {
			return nil, err
		}
		for _, it := range slices.Concat(slices.Collect(maps.Values(out.Responses))...) {
			r := recordOf(it)
			byID[r.ID] = r
		}
		pending = out.UnprocessedKeys
		if err := unprocessed(ctx, (*Store)(j), len(pending), try); err != nil {
			return nil, err
		}
	}
	var records []infra.Record
	for _, e := range entries {
		if r, ok := byID[strings.TrimPrefix(textOf(e[attrPK]), recordPrefix)]; ok {
			records = append(records, r)
		}
	}
	return records, nil
}

// unprocessed waits before what a batch call left is asked for again, longer each
// time; it gives up when the SDK would.
func unprocessed(ctx context.Context, s *Store, left, try int) error {
	if left == 0 {
		return nil
	}
	if try == attempts {
		return &infra.Error{Op: "batch", Kind: infra.ErrUnavailable, Key: s.config.Table}
	}
	return infra.Sleep(ctx, s.clock, 20*time.Millisecond<<try)
}

// CountOpen implements infra.JobIndex.
func (j *jobs) CountOpen(ctx context.Context, owner string) (n int, err error) {
	if owner == "" {
		return 0, nil
	}
	in := j.query(byOpen, owner)
	in.Select = types.SelectCount
	for {
		out, err := j.dynamo.Query(ctx, in)
		if err != nil {
			return 0, failed("jobs.CountOpen", "", err)
		}
		n += int(out.Count)
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			return n, nil
		}
	}
}

// ByUpload implements infra.JobIndex.
func (j *jobs) ByUpload(ctx context.Context, key string) ([]infra.Record, error) {
	const op = "jobs.ByUpload"
	if key == "" {
		return nil, nil
	}
	in := j.query(byUpload, key)
	in.Limit = aws.Int32(10)
	out, err := j.dynamo.Query(ctx, in)
	if err != nil {
		return nil, failed(op, key, err)
	}
	records, err := j.fetch(ctx, out.Items)
	// The index lags: a record may wait no longer.
	return slices.DeleteFunc(records, func(r infra.Record) bool { return r.UploadKey != key }), failed(op, key, err)
}
