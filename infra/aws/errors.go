package aws

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/lowrank/lowrank/infra"
)

// failed turns a service's error into one of this project's kinds; nil stays nil.
func failed(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var mine *infra.Error
	if errors.As(err, &mine) {
		return err
	}
	return &infra.Error{Op: op, Kind: kindOf(err), Key: key, Err: err}
}

// kindOf sorts by the services' error codes, then by HTTP status. What says that
// this deployment is not set up right (no such table or bucket, no permission,
// stale credentials) counts as something that passes: it is not the caller's
// argument that is wrong, and the work is still there once it is mended.
func kindOf(err error) infra.Kind {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return infra.ErrUnavailable
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return infra.ErrNotFound
	case "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist":
		return infra.ErrNotFound
	case "PreconditionFailed":
		return infra.ErrExists
	case "ConditionalCheckFailedException":
		return infra.ErrConflict
	case "InvalidRange", "InvalidArgument", "ValidationException", "InvalidParameterValue", "KeyTooLongError", "InvalidMessageContents":
		return infra.ErrInvalid
	case "EntityTooLarge", "MetadataTooLarge", "BatchRequestTooLong", "RequestEntityTooLarge":
		return infra.ErrTooLarge
	}
	return infra.ErrUnavailable
}

// status is the HTTP status of a service's answer, 0 when there was none.
func status(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// isConditionFailed reports a conditional write that met something else.
func isConditionFailed(err error) bool {
	var failed *ddb.ConditionalCheckFailedException
	return errors.As(err, &failed)
}

// newTry is a mark for one conditional write. The SDK repeats a call whose answer
// was lost; its condition then fails on what the first try wrote, which the mark
// tells from what others wrote.
func newTry() ddb.AttributeValue {
	b := make([]byte, 9)
	rand.Read(b)
	return text(base64.RawURLEncoding.EncodeToString(b))
}

// written returns the item that an earlier try of the same call wrote, if that is
// why the condition failed.
func written(err error, try ddb.AttributeValue) (item, bool) {
	var failed *ddb.ConditionalCheckFailedException
	if !errors.As(err, &failed) || failed.Item == nil || textOf(failed.Item[attrTry]) != textOf(try) {
		return nil, false
	}
	return failed.Item, true
}

// isConflict reports S3's 409: another conditional write of the key is under way.
func isConflict(err error) bool { return status(err) == http.StatusConflict }

func invalid(op, key, format string, args ...any) error {
	return &infra.Error{Op: op, Kind: infra.ErrInvalid, Key: key, Err: fmt.Errorf(format, args...)}
}

func tooLarge(op, key string, size, limit int64) error {
	return &infra.Error{Op: op, Kind: infra.ErrTooLarge, Key: key, Err: fmt.Errorf("%d bytes, the limit is %d", size, limit)}
}
