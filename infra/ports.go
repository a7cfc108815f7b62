package infra

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
}
