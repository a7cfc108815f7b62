package aws

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/lowrank/lowrank/infra"
)

// jobs implements infra.Jobs and infra.JobIndex.
type jobs Store

var (
	_ infra.Jobs     = (*jobs)(nil)
	_ infra.JobIndex = (*jobs)(nil)
)

// Create implements infra.Jobs.
func (j *jobs) Create(ctx context.Context, r infra.Record) (infra.Record, error) {
	const op = "jobs.Create"
	r, err := normal(op, r)
	if err != nil {
		return infra.Record{}, err
	}
	r.Version = 1
	it, try := recordItem(r), newTry()
	it[attrTry] = try
	_, err = j.dynamo.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: table((*Store)(j)), Item: it,
		ConditionExpression: aws.String("attribute_not_exists(#pk)"), ExpressionAttributeNames: names(attrPK),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if _, ok := written(err, try); ok {
		return r, nil
	}
	if isConditionFailed(err) {
		return infra.Record{}, &infra.Error{Op: op, Kind: infra.ErrExists, Key: r.ID}
	}
	if err != nil {
		return infra.Record{}, failed(op, r.ID, err)
	}
	return r, nil
}

// Get implements infra.Jobs.
func (j *jobs) Get(ctx context.Context, id string) (infra.Record, error) {
	const op = "jobs.Get"
	out, err := j.dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: table((*Store)(j)), Key: recordKey(id), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return infra.Record{}, failed(op, id, err)
	}
	if out.Item == nil {
		return infra.Record{}, &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: id}
	}
	return recordOf(out.Item), nil
}

// Update implements infra.Jobs.
func (j *jobs) Update(ctx context.Context, r infra.Record) (infra.Record, error) {
	const op = "jobs.Update"
	r, err := normal(op, r)
	if err != nil {
		return infra.Record{}, err
	}
	next := r
	next.Version++
	it, try := recordItem(next), newTry()
	it[attrTry] = try
	_, err = j.dynamo.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: table((*Store)(j)), Item: it,
		ConditionExpression:      aws.String("#version = :version AND #owner = :owner AND #kind = :kind AND #created = :created"),
		ExpressionAttributeNames: names(attrVersion, attrOwner, attrKind, attrCreated),
		ExpressionAttributeValues: item{
			":version": number(r.Version), ":owner": text(r.Owner), ":kind": text(r.Kind), ":created": number(r.CreatedAt.UnixMicro()),
		},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if _, ok := written(err, try); ok {
		return next, nil
	}
	var met *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return next, nil
	case !errors.As(err, &met):
		return infra.Record{}, failed(op, r.ID, err)
	case met.Item == nil:
		return infra.Record{}, &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: r.ID}
	}
	if version := numberOf(met.Item[attrVersion]); version != r.Version {
		return infra.Record{}, &infra.Error{Op: op, Kind: infra.ErrConflict, Key: r.ID, Err: fmt.Errorf("version %d, expected %d", version, r.Version)}
	}
	return infra.Record{}, invalid(op, r.ID, "owner, kind and creation time never change")
}

// Delete implements infra.Jobs.
func (j *jobs) Delete(ctx context.Context, id string, version int64) error {
	const op = "jobs.Delete"
	in := &dynamodb.DeleteItemInput{TableName: table((*Store)(j)), Key: recordKey(id)}
	onVersion(version, &in.ConditionExpression, &in.ExpressionAttributeNames, &in.ExpressionAttributeValues)
	_, err := j.dynamo.DeleteItem(ctx, in)
	return failed(op, id, err)
}

// onVersion makes a deletion depend on the version, unless the item is not there.
func onVersion(version int64, condition **string, attrs *map[string]string, values *map[string]types.AttributeValue) {
	if version == infra.AnyVersion {
		return
	}
	*condition = aws.String("attribute_not_exists(#pk) OR #version = :version")
	*attrs, *values = names(attrPK, attrVersion), item{":version": number(version)}
}
