package events

import "encoding/json"

// Program is what a runner does for a job: one of three functions.
type Program string

// The programs. The first two train (and go to the trainings' queue), the third draws.
const (
	ProgramTraining         Program = "lora-training"
	ProgramAdvancedTraining Program = "lora-advanced-training"
	ProgramLora             Program = "lora"
)

// Trains reports whether the program makes a concept rather than pictures. Trainings have a queue
// and runners of their own, so that drawing stays instant while one runs.
func (p Program) Trains() bool { return p == ProgramTraining || p == ProgramAdvancedTraining }

// Valid reports whether p is one of the three.
func (p Program) Valid() bool { return p.Trains() || p == ProgramLora }

// Job is the stored record of a prediction or training. All that a second run of the same job must
// do alike is in it, so that a retry makes the same bytes under the same name.
type Job struct {
	ID    JobID `json:"id"`
	Owner Owner `json:"owner"`

	// Training is true when the job was asked for as a training (with a destination) and is listed
	// and shown as one. A training model run as a prediction has it false.
	Training    bool   `json:"training,omitempty"`
	Destination string `json:"destination,omitempty"` // owner/name of the model that gets the new version

	Model   string  `json:"model"`   // owner/name, as the client named it
	Version string  `json:"version"` // the version's id, as the client sent it
	Program Program `json:"program"`
	Base    string  `json:"base"` // the base model's name

	Input json.RawMessage `json:"input"` // validated; shown as it is; without defaults
	Seed  int64           `json:"seed"`  // the input's, or drawn when the job was made
	// Sources says, for each URL in the input that is our own, where its bytes are kept.
	Sources []Source `json:"sources,omitempty"`
	// WaitsFor is the blob whose PUT starts the job ("" once it has arrived, or when there is none).
	WaitsFor string `json:"waits_for,omitempty"`

	OutputSecret string `json:"output_secret"` // the unguessable part of the outputs' URLs
	OutputTemp   string `json:"output_temp"`   // what a trained file's name begins with: tmpXXXXXXXX
	StreamSecret string `json:"stream_secret"` // the unguessable part of urls.stream

	Status      Status         `json:"status"`
	Error       string         `json:"error,omitempty"`
	Outputs     []OutputObject `json:"outputs,omitempty"`
	NewVersion  string         `json:"new_version,omitempty"` // owner/name:id that a training made
	CreatedAt   Time           `json:"created_at"`
	QueuedAt    Time           `json:"queued_at"` // when its message was sent; zero: not yet
	StartedAt   Time           `json:"started_at"`
	CompletedAt Time           `json:"completed_at"`
	CancelAfter Time           `json:"cancel_after"` // canceled by the sweep or the runner from then on
	// Deleted is true from the owner's DELETE until record, outputs and checkpoint are gone.
	Deleted bool `json:"deleted,omitempty"`

	Progress Progress `json:"progress"`
	LogSize  int64    `json:"log_size"` // bytes of log written so far; the log itself is kept elsewhere

	Lease     *Lease `json:"lease,omitempty"`
	Crashes   int    `json:"crashes,omitempty"`    // leases that ran out with the job unfinished
	HandBacks int    `json:"hand_backs,omitempty"` // leases given back cleanly
	// Resends counts messages sent because the one before died without a runner that began the job.
	Resends int `json:"resends,omitempty"`
	// Checkpoint is the blob that an interrupted training goes on from.
	Checkpoint string `json:"checkpoint,omitempty"`

	Webhook *Webhook `json:"webhook,omitempty"`
	Links   Links    `json:"links"` // the addresses under which the client knows this server
}

// Source is one file that a job reads from our own store. It stays on the object that was there when
// the job was made or started, even if the upload is replaced later.
type Source struct {
	URL string `json:"url"` // as it stands in the input
	Key string `json:"key"` // its blob
	// Generation is the content to read, "" while it is not there yet.
	Generation string `json:"generation,omitempty"`
	Name       string `json:"name"` // the user's name for it: it names the concept
}

// OutputObject is one file that a job made.
type OutputObject struct {
	Key         string `json:"key"`  // its blob: outputs/pbxt/{secret}/{name}
	Size        int64  `json:"size"` // bytes
	SHA256      string `json:"sha256"`
	ContentType string `json:"content_type"`
}

// Progress is how far a job has come, for pages that draw a bar.
type Progress struct {
	Stage string  `json:"stage,omitempty"` // for example "inversion", "tuning", "sampling"
	Done  int     `json:"done,omitempty"`  // steps done in the stage
	Total int     `json:"total,omitempty"` // steps in the stage
	Loss  float64 `json:"loss,omitempty"`  // of the last step, where there is one
}

// Lease is a runner's right to write a job until a moment. Holder is drawn anew for each attempt, so
// that a runner which was thought dead cannot write once another has taken over. It begins with the
// runner's name and a full stop where the runner has a name.
type Lease struct {
	Holder string `json:"holder"`
	Until  Time   `json:"until"`
}

// Webhook is where and when the client wants to be told.
type Webhook struct {
	URL    string         `json:"url"`
	Events []WebhookEvent `json:"events"`
}

// Links are the absolute addresses that a job's URLs are built from, without a final slash.
type Links struct {
	API     string `json:"api"`     // the server: /v1/… follows
	Outputs string `json:"outputs"` // before /pbxt/…
	Stream  bool   `json:"stream"`  // whether the deployment can stream; else urls.stream is left out
}
