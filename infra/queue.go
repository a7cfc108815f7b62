package infra

import (
	"context"
	"time"
)

// Limits of queues. They are SQS's.
const (
	MaxMessage    = 256 << 10        // bytes in a message's body
	MaxDelay      = 15 * time.Minute // Send's delay
	MaxVisibility = 12 * time.Hour   // from Receive, whatever Extend says
	MaxWait       = 20 * time.Second // Receive's long poll
	MaxBatch      = 10               // messages a Receive
)

// The queues of the service.
const (
	PredictionQueue = "predictions" // jobs that draw
	TrainingQueue   = "trainings"   // jobs that train
	ObjectQueue     = "objects"     // S3 event notifications of keys under ObjectPrefixes
	WebhookQueue    = "webhooks"    // deliveries to be tried again
)

// ObjectPrefixes are the prefixes of blob keys whose creation is notified on ObjectQueue.
var ObjectPrefixes = []string{"uploads/", "outputs/"}

// MaxReceives is how often a message of the named queue is received before it
// becomes a dead letter. A job that kills its runner three times is given up; the other
// queues' messages fail because something they need is away, and wait for it.
func MaxReceives(queue string) int {
	switch queue {
	case PredictionQueue, TrainingQueue:
		return 3
	}
	return 20
}

// Queues finds a queue by name. Names are [a-z0-9-], at most 60 bytes; an adapter
// may know only those above. Never fails: a name that does not exist shows as
// ErrNotFound or ErrInvalid when the queue is used.
type Queues interface {
	Queue(name string) Queue
}

// Queue delivers every message at least once, in about the order sent. A message
// is in one of three places: waiting (also: delayed), leased to a receiver until
// its visibility timeout, or a dead letter.
//
// Giving a job back cleanly is Send of a fresh message, then Ack of the old one:
// the fresh one's receive count starts again, so only crashes count.
type Queue interface {
	// Send returns once the message is durable. body is UTF-8 (JSON) of 1 to
	// MaxMessage bytes. Called again, it delivers twice. delay is rounded up to a
	// second at most. Errors: ErrInvalid, ErrTooLarge, ErrFull.
	Send(ctx context.Context, body []byte, delay time.Duration) error

	// Receive leases up to max (1 to MaxBatch) messages for visibility, waiting up
	// to wait for the first. None is no error. A message already received
	// MaxReceives times becomes a dead letter instead of being returned. When ctx
	// ends, messages may have been leased and lost sight of: they come back.
	Receive(ctx context.Context, max int, wait, visibility time.Duration) ([]Message, error)

	// Extend makes the lease last visibility from now; 0 gives the message back at
	// once (its count stays). ErrGone: the message was acknowledged or the lease
	// was lost; the store may notice that late, so the record's conditional write
	// is what fences. May be called again.
	Extend(ctx context.Context, receipt string, visibility time.Duration) error

	// Ack removes the message. May be called again; a receipt that was lost is nil
	// or ErrGone, and then the message comes again or not.
	Ack(ctx context.Context, receipt string) error

	// Depth counts messages, approximately.
	Depth(ctx context.Context) (Depth, error)

	// DeadLetters returns up to max dead letters, oldest first, and leaves them
	// where they are; their Receipt is empty. They are kept 14 days. Where the
	// store can only sample, a call may miss some.
	DeadLetters(ctx context.Context, max int) ([]Message, error)
}

// Message is a leased message.
type Message struct {
	ID       string // the same on each delivery of one Send
	Body     []byte
	Receipt  string // names this lease; changes with each delivery
	Receives int    // deliveries so far, this one included: 1 the first time
	SentAt   time.Time
}

// Depth is how many messages a queue holds.
type Depth struct {
	Waiting int // ready or delayed
	Leased  int
	Dead    int
}
