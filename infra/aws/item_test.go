package aws

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/lowrank/lowrank/infra"
)

func TestSortable(t *testing.T) {
	numbers := []int64{math.MinInt64, -1, 0, 1, 15, 16, 1795485106000000, math.MaxInt64}
	var texts []string
	for _, n := range numbers {
		texts = append(texts, sortable(n))
		if got := offsetOf(item{attrSK: text(sortable(n))}); got != n {
			t.Errorf("%d came back as %d", n, got)
		}
	}
	if !slices.IsSorted(texts) {
		t.Errorf("%v do not sort as their numbers do", texts)
	}
}

func TestRecordItem(t *testing.T) {
	full := infra.Record{
		ID: "job_1", Version: 7, Owner: "a/b#c", Kind: "training", CreatedAt: time.UnixMicro(1795485106123456).UTC(), Status: "processing",
		Open: true, UploadKey: "uploads/x/é.zip", DueAt: time.UnixMilli(1795485200001).UTC(), Payload: json.RawMessage(`{"a":"<1>"}`),
	}
	if got := recordOf(recordItem(full)); !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v, want %+v", got, full)
	}
	ended := full
	ended.Open, ended.UploadKey, ended.DueAt = false, "", time.Time{}
	it := recordItem(ended)
	for _, key := range []string{attrOpenOwner, attrUpload, attrDueSet, attrDueAt, attrDue} {
		if it[key] != nil {
			t.Errorf("a record that has ended still has %s and is found through its index", key)
		}
	}
	if got := recordOf(it); !reflect.DeepEqual(got, ended) {
		t.Errorf("got %+v, want %+v", got, ended)
	}
	if ownerKind("a/b", "c") == ownerKind("a", "b/c") {
		t.Error("two owners share a partition")
	}
}

func TestKinds(t *testing.T) {
	for code, want := range map[string]infra.Kind{
		"NoSuchKey": infra.ErrNotFound, "PreconditionFailed": infra.ErrExists, "ConditionalCheckFailedException": infra.ErrConflict,
		"ValidationException": infra.ErrInvalid, "EntityTooLarge": infra.ErrTooLarge,
		"ThrottlingException": infra.ErrUnavailable, "SlowDown": infra.ErrUnavailable, "InternalError": infra.ErrUnavailable,
		// Set up wrong, not called wrong: the work waits until it is mended.
		"AccessDenied": infra.ErrUnavailable, "NoSuchBucket": infra.ErrUnavailable, "ResourceNotFoundException": infra.ErrUnavailable, "ExpiredToken": infra.ErrUnavailable,
	} {
		err := failed("op", "key", &smithy.GenericAPIError{Code: code})
		if got := infra.KindOf(err); got != want {
			t.Errorf("%s is %q, want %q", code, got, want)
		}
		var api smithy.APIError
		if !errors.As(err, &api) {
			t.Errorf("%s: the cause is lost", code)
		}
	}
	if failed("op", "key", nil) != nil {
		t.Error("no failure became one")
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv(BucketEnv, "b")
	t.Setenv(TableEnv, "")
	if _, err := FromEnv(); err == nil {
		t.Error("a missing table was not noticed")
	}
	t.Setenv(TableEnv, "t")
	t.Setenv(QueuesEnv, "predictions=https://sqs/p  predictions-dead=https://sqs/pd")
	c, err := FromEnv()
	if err != nil || c.Queues["predictions"] != "https://sqs/p" || c.Queues["predictions-dead"] != "https://sqs/pd" {
		t.Errorf("got %+v, %v", c, err)
	}
	t.Setenv(QueuesEnv, "predictions")
	if _, err := FromEnv(); err == nil {
		t.Error("a queue without URL was not noticed")
	}
}

func FuzzStreamChanges(f *testing.F) {
	sample, err := os.ReadFile("../../events/samples/lambda-notify.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{sample, []byte(`{}`), []byte(`[]`), []byte(`{"Records":[{}]}`), []byte(`{"Records":[{"dynamodb":{"Keys":{"pk":{"S":"job#x"}}}}]}`),
		bytes.Replace(sample, []byte(`"N": "4"`), []byte(`"N": "many"`), 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		changes, err := StreamChanges(event)
		for _, c := range changes {
			if err != nil || c.Old == nil && c.New == nil {
				t.Errorf("change %+v with %v: one without images", c, err)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{Scope: scope("jobs"), Last: []byte("x#y")}.String())
	f.Add("")
	f.Add("%%%")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		last, err := parseCursor("list", text, scope("jobs"))
		if err != nil && !errors.Is(err, infra.ErrInvalid) {
			t.Errorf("got %v, want invalid", err)
		}
		if err == nil && text != "" && last == "" {
			t.Error("a cursor without a place was taken")
		}
	})
}
