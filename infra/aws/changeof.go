package aws

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/lowrank/lowrank/infra"
)

// changeOf reads one record of the stream; ok is false for an item that is none of
// ours to tell of (documents, logs).
func changeOf(r streams.Record) (change infra.Change, ok bool, err error) {
	image := func(m map[string]streams.AttributeValue) *infra.Record {
		it := item{}
		for name, v := range m {
			it[name] = fromStream(v)
		}
		return imageOf(it)
	}
	return step(streamText(r.Dynamodb.Keys[attrPK]), image(r.Dynamodb.OldImage), image(r.Dynamodb.NewImage))
}

func imageOf(it item) *infra.Record {
	if len(it) == 0 {
		return nil
	}
	r := recordOf(it)
	return &r
}

func step(pk string, old, new *infra.Record) (infra.Change, bool, error) {
	id, ok := strings.CutPrefix(pk, recordPrefix)
	if !ok {
		return infra.Change{}, false, nil
	}
	if old == nil && new == nil {
		return infra.Change{}, false, fmt.Errorf("a change of %s has no image: the table's stream must have NEW_AND_OLD_IMAGES", id)
	}
	return infra.Change{ID: id, Old: old, New: new}, true, nil
}

func streamText(v streams.AttributeValue) string {
	s, _ := v.(*streams.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

// fromStream converts the kinds of values that records have.
func fromStream(v streams.AttributeValue) types.AttributeValue {
	switch v := v.(type) {
	case *streams.AttributeValueMemberS:
		return &types.AttributeValueMemberS{Value: v.Value}
	case *streams.AttributeValueMemberN:
		return &types.AttributeValueMemberN{Value: v.Value}
	case *streams.AttributeValueMemberBOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Value}
	}
	return nil
}

// StreamChange is a change as an event source mapping hands it to a Lambda.
type StreamChange struct {
	Sequence string // names the record in the answer of failures
	infra.Change
}

// StreamChanges reads the event that an event source mapping on the table's stream
// sends, in its order. Changes of items that are no records are left out.
func StreamChanges(event []byte) ([]StreamChange, error) {
	type image map[string]struct {
		S    *string
		N    *string
		BOOL *bool
	}
	var m struct {
		Records []struct {
			DynamoDB struct {
				Keys, OldImage, NewImage image
				SequenceNumber           string
			} `json:"dynamodb"`
		}
	}
	if err := json.Unmarshal(event, &m); err != nil {
		return nil, fmt.Errorf("not an event of a DynamoDB stream: %w", err)
	}
	items := func(im image) item {
		it := item{}
		for name, v := range im {
			switch {
			case v.S != nil:
				it[name] = text(*v.S)
			case v.N != nil:
				it[name] = &types.AttributeValueMemberN{Value: *v.N}
			case v.BOOL != nil:
				it[name] = &types.AttributeValueMemberBOOL{Value: *v.BOOL}
			}
		}
		return it
	}
	var found []StreamChange
	for _, r := range m.Records {
		d := r.DynamoDB
		change, ok, err := step(textOf(items(d.Keys)[attrPK]), imageOf(items(d.OldImage)), imageOf(items(d.NewImage)))
		if err != nil {
			return nil, err
		}
		if ok {
			change.Position = d.SequenceNumber
			found = append(found, StreamChange{Sequence: d.SequenceNumber, Change: change})
		}
	}
	return found, nil
}
