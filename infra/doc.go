// Package infra holds the ports of lowrank: what the service asks of the world
// around it, in small interfaces. Handlers (functions/) and the runner
// (gpurunner/) are written once over these; an adapter makes them real:
//
//   - infra/local: SQLite and files in one folder, for `lowrank serve`;
//   - infra/aws: S3, SQS, DynamoDB and EventBridge;
//   - infra/faulty: any adapter, with failures, delays and repeats, for tests.
//
// infra/infratest is the conformance suite that every adapter passes. Over the
// ports, and the same on each adapter, lie infra/predictions (jobs and their rules)
// and infra/registry (tokens, files, models); infra/fetch brings what users name.
//
// # The words
//
// Blob: an object with a key, a content type and small metadata; each Put makes
// a new generation, and a reader may ask for the one it was told about.
// Queue: messages that come back unless acknowledged. Record: one prediction,
// changed only on condition of its version. Log: the text a job writes, by byte
// offset. Change: one step in the life of a record, as the change feed tells it.
// Document: a small value under a collection and a key.
//
// # The retry contract
//
// Every call may fail after it took effect (the answer was lost), and every
// message, change and event may arrive twice, late, or out of order. So each
// method's comment says what a second call does. In short: Put, Ack, Extend,
// Delete and Append may simply be called again; Create and Update answer
// ErrExists or ErrConflict to the second call, and the caller reads what is
// there; Send and Publish deliver twice.
//
// Errors carry one of the Kinds of errors.go; Retryable says which may pass by
// themselves. Point reads (Get, Stat, Lookup) see every write that was answered
// before they began. Lists, counts and lookups through an index may lag by a
// moment where the store is spread over machines; whoever acts on them checks
// by a conditional write.
//
// # What this package is not
//
// It does no I/O and knows no states: what a record's payload says belongs to
// events/. It picks no adapter: only mains do that.
package infra
