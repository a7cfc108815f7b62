// Package infratest is the conformance suite of the ports of infra: what every
// adapter must do, so that handlers and runners behave the same on all of them.
// An adapter's test opens it and calls Run.
//
// The suite asks for nothing that SQS, S3 or DynamoDB do not promise: lists may
// lag (it waits for them), order among messages is not asked for, a lost receipt
// may be noticed late. Clock and its Advance let a local adapter skip waiting.
package infratest
