package events

// Status is the state of a job. Clients know these five and no other: a sixth would make one raise
// and the others poll for ever.
type Status string

// The states, in the only order in which a job passes through them.
const (
	Starting   Status = "starting"
	Processing Status = "processing"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Canceled   Status = "canceled"
)

// Terminal reports whether a job in this state never changes again.
func (s Status) Terminal() bool { return s == Succeeded || s == Failed || s == Canceled }

// Valid reports whether s is one of the five.
func (s Status) Valid() bool { return s == Starting || s == Processing || s.Terminal() }
