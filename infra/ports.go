package infra

import "context"

// Ports is one adapter's set of ports, as mains hand it to handlers and runners.
// Each handler takes only those it uses.
type Ports struct {
	Blobs     Blobs
	Presigner Presigner
	Queues    Queues
	Jobs      Jobs
	Index     JobIndex
	Logs      Logs
	Changes   Changes
	Documents Documents
	Events    EventBus
	Clock     Clock

	// Mark, which a store need not have, tells whether Jobs, Logs or Documents changed: while it returns the same
	// number, whatever was read from them after it returned it the first time is what a read would give now, whoever
	// writes. Far cheaper than the read.
	Mark func(context.Context) (int64, error)
}
