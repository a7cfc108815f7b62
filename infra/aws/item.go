package aws

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/lowrank/lowrank/infra"
)

// item is an item, or a key, of the table.
type item = map[string]types.AttributeValue

// The attributes. Those of the indexes are there only when the record is to be
// found through them.
const (
	attrPK      = "pk"
	attrSK      = "sk"
	attrVersion = "version"
	attrExpires = "expires" // the table's time to live, in Unix seconds
	attrTry     = "try"     // the mark of the call that wrote the item, see newTry

	attrOwner   = "owner" // hash key of indexOwner
	attrKind    = "kind"
	attrCreated = "created" // Unix µs
	attrStatus  = "status"
	attrOpen    = "open"
	attrUpload  = "upload" // hash key of indexUpload
	attrDue     = "due"    // Unix ms
	attrPayload = "payload"

	attrAt        = "at"         // range key: created, then id
	attrOwnerKind = "owner_kind" // hash key of indexKind
	attrOpenOwner = "open_owner" // hash key of indexOpen
	attrDueSet    = "due_set"    // hash key of indexDue: always dueSet
	attrDueAt     = "due_at"     // range key of indexDue: due, then id
)

// The indexes, each with the keys alone. template.yaml declares the same.
const (
	indexOwner  = "by-owner"
	indexKind   = "by-owner-kind"
	indexOpen   = "open-by-owner"
	indexUpload = "by-upload"
	indexDue    = "by-due"
)

// dueSet is the one partition of indexDue. A job enters it when it is made and
// moves in it with each renewal of its lease; the limit of a partition, a thousand
// writes a second, is some ten thousand jobs running at once.
const dueSet = "due"

const (
	recordPrefix = "job#"
	recordSK     = "record"
)

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func textOf(v types.AttributeValue) string {
	s, _ := v.(*types.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}

func numberOf(v types.AttributeValue) int64 {
	n, _ := v.(*types.AttributeValueMemberN)
	if n == nil {
		return 0
	}
	i, _ := strconv.ParseInt(n.Value, 10, 64)
	return i
}

// sortable writes n so that texts sort as the numbers do, negative ones too.
func sortable(n int64) string { return fmt.Sprintf("%016x", uint64(n)^1<<63) }

// atOf is the range key by which lists are ordered.
func atOf(r infra.Record) string { return sortable(r.CreatedAt.UnixMicro()) + "#" + r.ID }

func dueAtOf(r infra.Record) string { return sortable(r.DueAt.UnixMilli()) + "#" + r.ID }

func ownerKind(owner, kind string) string { return url.QueryEscape(owner) + "/" + kind }

func recordKey(id string) item { return item{attrPK: text(recordPrefix + id), attrSK: text(recordSK)} }

// recordItem is the item of r, index keys included.
func recordItem(r infra.Record) item {
	it := recordKey(r.ID)
	it[attrVersion], it[attrCreated] = number(r.Version), number(r.CreatedAt.UnixMicro())
	it[attrOwner], it[attrKind], it[attrStatus] = text(r.Owner), text(r.Kind), text(r.Status)
	it[attrOpen], it[attrPayload] = &types.AttributeValueMemberBOOL{Value: r.Open}, text(string(r.Payload))
	it[attrAt], it[attrOwnerKind] = text(atOf(r)), text(ownerKind(r.Owner, r.Kind))
	if r.Open {
		it[attrOpenOwner] = text(r.Owner)
	}
	if r.UploadKey != "" {
		it[attrUpload] = text(r.UploadKey)
	}
	if !r.DueAt.IsZero() {
		it[attrDue], it[attrDueSet], it[attrDueAt] = number(r.DueAt.UnixMilli()), text(dueSet), text(dueAtOf(r))
	}
	return it
}

// recordOf reads recordItem.
func recordOf(it item) infra.Record {
	open, _ := it[attrOpen].(*types.AttributeValueMemberBOOL)
	r := infra.Record{
		ID: strings.TrimPrefix(textOf(it[attrPK]), recordPrefix), Version: numberOf(it[attrVersion]),
		Owner: textOf(it[attrOwner]), Kind: textOf(it[attrKind]), CreatedAt: time.UnixMicro(numberOf(it[attrCreated])).UTC(),
		Status: textOf(it[attrStatus]), Open: open != nil && open.Value, UploadKey: textOf(it[attrUpload]),
		Payload: json.RawMessage(textOf(it[attrPayload])),
	}
	if it[attrDue] != nil {
		r.DueAt = time.UnixMilli(numberOf(it[attrDue])).UTC()
	}
	return r
}

// normal checks r and cuts its times to what is kept, so that what a write returns
// is what a read will.
func normal(op string, r infra.Record) (infra.Record, error) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	switch {
	case r.ID == "" || len(r.ID) > infra.MaxID || strings.Trim(r.ID, letters) != "":
		return r, invalid(op, "", "a record's ID is 1 to %d of A-Z, a-z, 0-9, _ and -", infra.MaxID)
	case r.Owner == "" || len(r.Owner) > infra.MaxID || r.Kind == "" || len(r.Kind) > infra.MaxID:
		return r, invalid(op, r.ID, "owner and kind have 1 to %d bytes", infra.MaxID)
	case r.CreatedAt.IsZero():
		return r, invalid(op, r.ID, "CreatedAt is not set")
	case len(r.UploadKey) > infra.MaxKey:
		return r, invalid(op, r.ID, "the upload key has %d bytes, the limit is %d", len(r.UploadKey), infra.MaxKey)
	case len(r.Payload) > infra.MaxPayload:
		return r, tooLarge(op, r.ID, int64(len(r.Payload)), infra.MaxPayload)
	case !json.Valid(r.Payload):
		return r, invalid(op, r.ID, "the payload is not JSON")
	}
	r.CreatedAt = r.CreatedAt.UTC().Truncate(time.Microsecond)
	if !r.DueAt.IsZero() {
		r.DueAt = r.DueAt.UTC().Truncate(time.Millisecond)
	}
	return r, nil
}

// names are expressions' #names: half of the attributes' are reserved words.
func names(attrs ...string) map[string]string {
	m := map[string]string{}
	for _, a := range attrs {
		m["#"+a] = a
	}
	return m
}

func table(s *Store) *string { return aws.String(s.config.Table) }
