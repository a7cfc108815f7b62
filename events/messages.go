package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// WebhookEvent is a moment that a client may want to be told of.
type WebhookEvent string

// The moments. Completed is the terminal state, sent last and retried; the others are sent once.
const (
	WebhookStart     WebhookEvent = "start"
	WebhookOutput    WebhookEvent = "output"
	WebhookLogs      WebhookEvent = "logs"
	WebhookCompleted WebhookEvent = "completed"
)

// WebhookEvents are all of them, in the order in which a job reaches them.
var WebhookEvents = []WebhookEvent{WebhookStart, WebhookLogs, WebhookOutput, WebhookCompleted}

// Wants reports whether the client asked for e. A nil Webhook wants nothing.
func (w *Webhook) Wants(e WebhookEvent) bool { return w != nil && slices.Contains(w.Events, e) }

// RunJob is the message that brings a job to a runner. It carries only the id: what counts is what
// the record says when the message arrives.
type RunJob struct {
	Type string `json:"type"` // "job.run"
	ID   JobID  `json:"id"`
}

// Deliver is the message that brings a job to the notifier: its webhook is to be told, or its
// outputs are to be announced.
type Deliver struct {
	Type string `json:"type"` // "webhook.deliver" or "output.announce"
	ID   JobID  `json:"id"`
}

// The types of messages.
const (
	TypeRunJob   = "job.run"
	TypeWebhook  = "webhook.deliver"
	TypeAnnounce = "output.announce"
)

// NewRunJob is the message that runs the job.
func NewRunJob(id JobID) RunJob { return RunJob{Type: TypeRunJob, ID: id} }

// ErrNoMessage says that a queue's message is none that this version knows. Trying again does not help.
var ErrNoMessage = errors.New("no such message")

// ParseRunJob reads a message of the predictions' or trainings' queue. Errors are ErrNoMessage.
func ParseRunJob(body []byte) (RunJob, error) {
	var m RunJob
	if err := json.Unmarshal(body, &m); err != nil {
		return RunJob{}, fmt.Errorf("%w: not a JSON object", ErrNoMessage)
	}
	if m.Type != TypeRunJob || !ValidID(string(m.ID)) {
		return RunJob{}, fmt.Errorf("%w: wanted %s with an id", ErrNoMessage, TypeRunJob)
	}
	return m, nil
}

// ParseDeliver reads a message of the notifier's queue. Errors are ErrNoMessage.
func ParseDeliver(body []byte) (Deliver, error) {
	var m Deliver
	if err := json.Unmarshal(body, &m); err != nil {
		return Deliver{}, fmt.Errorf("%w: not a JSON object", ErrNoMessage)
	}
	if (m.Type != TypeWebhook && m.Type != TypeAnnounce) || !ValidID(string(m.ID)) {
		return Deliver{}, fmt.Errorf("%w: wanted %s or %s with an id", ErrNoMessage, TypeWebhook, TypeAnnounce)
	}
	return m, nil
}

// OutputCreatedType is the detail-type of OutputCreated on the bus; its source is EventSource.
const (
	OutputCreatedType = "lowrank.output.created"
	EventSource       = "lowrank"
)

// OutputCreated tells the world outside that a job has succeeded and one of its files can be read.
// It is sent for each output, at least once, never before the record says succeeded.
type OutputCreated struct {
	ID          string `json:"id"` // the same whenever this output is announced again
	Prediction  JobID  `json:"prediction"`
	Owner       Owner  `json:"owner"`
	Model       string `json:"model"`
	Version     string `json:"version"`
	Index       int    `json:"index"` // of the output, from 0
	URL         string `json:"url"`
	Key         string `json:"key"` // the blob's
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
	ContentType string `json:"content_type"`
	CompletedAt Time   `json:"completed_at"`
}

// Announcements are the messages that a job's outputs cause: none unless it has succeeded.
func (j *Job) Announcements() []OutputCreated {
	if j.Status != Succeeded {
		return nil
	}
	var out []OutputCreated
	for i, o := range j.Outputs {
		out = append(out, OutputCreated{
			ID: fmt.Sprintf("%s-%d", j.ID, i), Prediction: j.ID, Owner: j.Owner, Model: j.Model, Version: j.Version, Index: i,
			URL: j.OutputURL(o), Key: o.Key, Size: o.Size, SHA256: o.SHA256, ContentType: o.ContentType, CompletedAt: j.CompletedAt,
		})
	}
	return out
}
