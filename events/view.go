package events

import (
	"encoding/json"
	"net/url"
	"strings"
)

// Prediction is the JSON object of a prediction, and of a training. Every key is always there:
// clients index them without asking. Source: Replicate's OpenAPI and what its clients require.
type Prediction struct {
	ID          JobID           `json:"id"`
	Model       string          `json:"model"`
	Version     string          `json:"version"`
	Input       json.RawMessage `json:"input"`
	Logs        string          `json:"logs"`
	Output      any             `json:"output"` // nil, string, []string or TrainingOutput
	DataRemoved bool            `json:"data_removed"`
	Error       *string         `json:"error"`
	Status      Status          `json:"status"`
	Source      string          `json:"source"`
	CreatedAt   Time            `json:"created_at"`
	StartedAt   Time            `json:"started_at"`
	CompletedAt Time            `json:"completed_at"`
	Metrics     Metrics         `json:"metrics"`
	URLs        PredictionURLs  `json:"urls"`
}

// TrainingOutput is the output of a training that has a destination.
type TrainingOutput struct {
	Version string `json:"version"` // owner/name:id
	Weights string `json:"weights"` // URL
}

// Metrics are seconds: running, and since the job was made. Both are absent until the job has ended.
type Metrics struct {
	PredictTime float64 `json:"predict_time,omitempty"`
	TotalTime   float64 `json:"total_time,omitempty"`
}

// PredictionURLs holds no null: one client would crash.
type PredictionURLs struct {
	Get    string `json:"get"`
	Cancel string `json:"cancel"`
	Stream string `json:"stream,omitempty"`
}

// View is what a client sees of the job. log is the first LogSize bytes of its log.
func (j *Job) View(log string) Prediction {
	kind := "predictions"
	if j.Training {
		kind = "trainings"
	}
	get := j.Links.API + "/v1/" + kind + "/" + string(j.ID)
	p := Prediction{
		ID: j.ID, Model: j.Model, Version: j.Version, Input: j.Input, Logs: strings.ToValidUTF8(log, "\uFFFD"),
		Output: j.output(), Status: j.Status, Source: "api",
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, CompletedAt: j.CompletedAt,
		URLs: PredictionURLs{Get: get, Cancel: get + "/cancel"},
	}
	if len(p.Input) == 0 {
		p.Input = json.RawMessage("{}")
	}
	if j.Status == Failed {
		p.Error = &j.Error
	}
	if j.Status.Terminal() {
		// A microsecond at least: clients take a time of zero for none.
		if !j.StartedAt.IsZero() {
			p.Metrics.PredictTime = max(j.CompletedAt.Sub(j.StartedAt.Time).Seconds(), 1e-6)
		}
		p.Metrics.TotalTime = max(j.CompletedAt.Sub(j.CreatedAt.Time).Seconds(), 1e-6)
	}
	if !j.Training && j.Links.Stream {
		p.URLs.Stream = j.Links.API + "/v1/streams/" + string(j.ID) + "-" + j.StreamSecret
	}
	return p
}

// output is null until the job has succeeded; then one URL for a training model, a list for lora (also
// of one), and version and weights for a training.
func (j *Job) output() any {
	if j.Status != Succeeded {
		return nil
	}
	urls := make([]string, len(j.Outputs))
	for i, o := range j.Outputs {
		urls[i] = j.OutputURL(o)
	}
	switch {
	case j.Program == ProgramLora:
		return urls
	case len(urls) == 0:
		return nil
	case j.Training:
		return TrainingOutput{Version: j.NewVersion, Weights: urls[0]}
	}
	return urls[0]
}

// AsStarted is the job as it was while it ran. Webhooks of that time carry it, however late they are sent:
// what the client reads is true, and its order is never backwards.
func (j *Job) AsStarted() Job {
	c := *j
	c.Status, c.Error, c.Outputs, c.CompletedAt = Processing, "", nil, Time{}
	return c
}

// OutputView is the view of a job whose output is complete, before it ended.
func (j *Job) OutputView(log string) Prediction {
	p := j.View(log)
	p.Status, p.CompletedAt, p.Metrics = Processing, Time{}, Metrics{}
	return p
}

// Keys of blobs. A name is one segment, cleaned by CleanUploadName or made by us.
const (
	uploadPrefix = "uploads/"
	outputPrefix = "outputs/"
)

// UploadKey is the blob of an upload.
func UploadKey(token, name string) string { return uploadPrefix + token + "/" + name }

// ParseUploadKey is the inverse of UploadKey.
func ParseUploadKey(key string) (token, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, uploadPrefix)
	if !ok {
		return "", "", false
	}
	token, name, ok = strings.Cut(rest, "/")
	return token, name, ok && token != "" && name != "" && !strings.Contains(name, "/")
}

// FileKey is the blob of a file that was posted to /v1/files.
func FileKey(id string) string { return "files/" + id + "/content" }

// OutputKey is the blob of an output of the job; it begins with OutputKeyPrefix.
func (j *Job) OutputKey(name string) string { return j.OutputKeyPrefix() + name }

// OutputKeyPrefix is what the keys of all the job's outputs begin with, and no other job's.
func (j *Job) OutputKeyPrefix() string { return outputPrefix + "pbxt/" + j.OutputSecret + "/" }

// CheckpointKeyPrefix is what the keys of the job's checkpoints begin with: what a training needs to go on.
func (j *Job) CheckpointKeyPrefix() string { return "checkpoints/" + string(j.ID) + "/" }

// OutputKeyOfPath is the blob that a path /pbxt/{secret}/{name} shows; name is decoded.
func OutputKeyOfPath(secret, name string) string { return outputPrefix + "pbxt/" + secret + "/" + name }

// OutputURL is the address of one output. It needs no token; nobody guesses it.
func (j *Job) OutputURL(o OutputObject) string {
	path := strings.TrimPrefix(o.Key, outputPrefix)
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return j.Links.Outputs + "/" + strings.Join(segments, "/")
}

// TrainedName is the file name of a trained concept: tmp, eight characters, and the zip's name
// without .zip and with all but -, _, letters and digits dropped, as in
// tmpfs4evyhbbob-ross.safetensors. The name is cut to 100 characters.
func (j *Job) TrainedName(zipName string) string {
	return j.OutputTemp + ConceptName(zipName) + ".safetensors"
}

// ConceptName is what a zip's name calls the concept: see TrainedName.
func ConceptName(zipName string) string {
	stem := zipName
	if i := len(stem) - len(".zip"); i >= 0 && strings.EqualFold(stem[i:], ".zip") {
		stem = stem[:i]
	}
	stem = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, stem)
	return stem[:min(len(stem), 100)]
}
