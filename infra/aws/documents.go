package aws

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/lowrank/lowrank/infra"
)

// documents implements infra.Documents: a collection is a partition, so a list is
// a query in the order of the keys' bytes.
type documents Store

var _ infra.Documents = (*documents)(nil)

const attrValue = "value"

func documentKey(collection, key string) item {
	return item{attrPK: text("doc#" + collection), attrSK: text(key)}
}

func documentOf(collection string, it item) infra.Document {
	return infra.Document{Collection: collection, Key: textOf(it[attrSK]), Version: numberOf(it[attrVersion]), Value: json.RawMessage(textOf(it[attrValue]))}
}

// Get implements infra.Documents.
func (d *documents) Get(ctx context.Context, collection, key string) (infra.Document, error) {
	const op = "documents.Get"
	out, err := d.dynamo.GetItem(ctx, &dynamodb.GetItemInput{TableName: table((*Store)(d)), Key: documentKey(collection, key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return infra.Document{}, failed(op, collection, err)
	}
	if out.Item == nil {
		return infra.Document{}, &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: collection}
	}
	return documentOf(collection, out.Item), nil
}

// Put implements infra.Documents.
func (d *documents) Put(ctx context.Context, doc infra.Document) (infra.Document, error) {
	const op = "documents.Put"
	switch {
	case doc.Collection == "" || len(doc.Collection) > infra.MaxCollection || !utf8.ValidString(doc.Collection):
		return infra.Document{}, invalid(op, doc.Collection, "a collection's name has 1 to %d bytes of UTF-8", infra.MaxCollection)
	case doc.Key == "" || len(doc.Key) > infra.MaxKey || !utf8.ValidString(doc.Key):
		return infra.Document{}, invalid(op, doc.Collection, "a key has 1 to %d bytes of UTF-8", infra.MaxKey)
	case len(doc.Value) > infra.MaxPayload:
		return infra.Document{}, tooLarge(op, doc.Collection, int64(len(doc.Value)), infra.MaxPayload)
	case !json.Valid(doc.Value):
		return infra.Document{}, invalid(op, doc.Collection, "the value is not JSON")
	}
	try := newTry()
	in := &dynamodb.UpdateItemInput{
		TableName: table((*Store)(d)), Key: documentKey(doc.Collection, doc.Key),
		UpdateExpression:          aws.String("SET #value = :value, #try = :try ADD #version :one"),
		ExpressionAttributeNames:  names(attrValue, attrVersion, attrTry),
		ExpressionAttributeValues: item{":value": text(string(doc.Value)), ":one": number(1), ":try": try},
		ReturnValues:              types.ReturnValueUpdatedNew,

		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	switch doc.Version {
	case infra.AnyVersion:
	case 0:
		in.ConditionExpression = aws.String("attribute_not_exists(#version)")
	default:
		in.ConditionExpression = aws.String("#version = :expected")
		in.ExpressionAttributeValues[":expected"] = number(doc.Version)
	}
	out, err := d.dynamo.UpdateItem(ctx, in)
	if it, ok := written(err, try); ok {
		return documentOf(doc.Collection, it), nil
	}
	if err != nil {
		return infra.Document{}, failed(op, doc.Collection, err)
	}
	doc.Version = numberOf(out.Attributes[attrVersion])
	return doc, nil
}

// Delete implements infra.Documents.
func (d *documents) Delete(ctx context.Context, collection, key string, version int64) error {
	in := &dynamodb.DeleteItemInput{TableName: table((*Store)(d)), Key: documentKey(collection, key)}
	onVersion(version, &in.ConditionExpression, &in.ExpressionAttributeNames, &in.ExpressionAttributeValues)
	_, err := d.dynamo.DeleteItem(ctx, in)
	return failed("documents.Delete", collection, err)
}

// List implements infra.Documents.
func (d *documents) List(ctx context.Context, collection, prefix string, o infra.ListOptions) (page infra.Page[infra.Document], err error) {
	const op = "documents.List"
	limit, direction := pageLimit(o.Limit), "forward"
	if o.Reverse {
		direction = "reverse"
	}
	mark := scope("documents", collection, prefix, direction)
	last, err := parseCursor(op, o.Cursor, mark)
	if err != nil {
		return page, err
	}
	in := &dynamodb.QueryInput{
		TableName: table((*Store)(d)), ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(!o.Reverse), Limit: aws.Int32(int32(limit + 1)),
		KeyConditionExpression: aws.String("#pk = :pk"), ExpressionAttributeNames: names(attrPK),
		ExpressionAttributeValues: item{":pk": documentKey(collection, "")[attrPK]},
	}
	if prefix != "" {
		in.KeyConditionExpression = aws.String("#pk = :pk AND begins_with(#sk, :prefix)")
		in.ExpressionAttributeNames["#sk"] = attrSK
		in.ExpressionAttributeValues[":prefix"] = text(prefix)
	}
	if last != "" {
		in.ExclusiveStartKey = documentKey(collection, last)
	}
	for { // an answer holds at most 1 MB
		out, err := d.dynamo.Query(ctx, in)
		if err != nil {
			return infra.Page[infra.Document]{}, failed(op, collection, err)
		}
		for _, it := range out.Items {
			page.Items = append(page.Items, documentOf(collection, it))
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil || len(page.Items) > limit {
			break
		}
	}
	if len(page.Items) > limit {
		page.Items = page.Items[:limit]
		page.Next = cursor{Scope: mark, Last: []byte(page.Items[limit-1].Key)}.String()
	}
	return page, nil
}
