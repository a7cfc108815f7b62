// Package aws is the adapter of infra's ports for an AWS account: blobs in one
// versioned S3 bucket, queues in SQS, records, logs and documents in one DynamoDB
// table with its stream, events on EventBridge. template.yaml makes all of them;
// FromEnv finds them by the environment variables that it sets.
//
// # The table
//
// One item a record ("job#id"), one a chunk of log ("log#id", by offset), one a
// document ("doc#collection", by key). Records are found through sparse indexes
// that hold keys alone: a heartbeat, which changes no key, writes no index, and a
// list reads the newest records by their keys afterwards. Nothing is scanned.
//
// # Failures
//
// Throttling, 5xx answers and lost connections are tried again by the SDK with
// growing pauses, and are infra.ErrUnavailable when that was not enough. A
// conditional write whose answer was lost meets its own result and says so as the
// ports' retry contract describes.
//
// # What it is not
//
// It makes no resources (template.yaml does) and it does not talk HTTP to users:
// infra/aws/gateway turns API Gateway's events into requests.
package aws
