package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/lowrank/lowrank/events"
)

// submission is a request for a job that has been understood but not yet stored.
type submission struct {
	target      target
	input       map[string]any
	webhook     *events.Webhook
	prefer      prefer
	cancelAfter cancelAfter
	destination string // of a training; "" for a prediction
	waitsFor    *upload
}

// upload is a place that was just made for a file.
type upload struct{ token, key, name, url string }

// target is the version that a job runs.
type target struct {
	model   string // owner/name as shown
	version string // id as shown: as the client sent it
	program events.CatalogueVersion
	weights string // URL that lora_urls defaults to, for a version that a training made
}

// readSubmission takes apart a body. The target is resolved by the caller.
func readSubmission(c *call, o map[string]any, t target) (*submission, error) {
	sub := &submission{target: t}
	switch in := o["input"].(type) {
	case map[string]any:
		sub.input = in
	case nil:
		if _, there := o["input"]; !there {
			return nil, events.Invalid("required", "input", "input is required")
		}
		return nil, events.Invalid("invalid_type", "input", "Invalid type. Expected: object, given: null")
	default:
		return nil, events.Invalid("invalid_type", "input", "Invalid type. Expected: object, given: "+jsonType(in))
	}
	var err error
	if sub.webhook, err = readWebhook(o); err != nil {
		return nil, err
	}
	if sub.prefer, err = readPrefer(c.Request); err != nil {
		return nil, err
	}
	sub.cancelAfter, err = readCancelAfter(c.Request)
	return sub, err
}

// submit validates, stores and queues a job. Nothing is stored of one that is refused. The order of
// writes is such that a crash between any two leaves either nothing or a job that the sweep
// completes.
func (s *server) submit(c *call, sub *submission) (events.Job, error) {
	if sub.target.weights != "" {
		if l, ok := sub.input["lora_urls"].(string); !ok || l == "" {
			if _, there := sub.input["lora_urls"]; !there || ok {
				sub.input["lora_urls"] = sub.target.weights
			}
		}
	}
	input, version, err := s.Catalogue.Validate(sub.target.program, sub.input)
	if err != nil {
		return events.Job{}, err
	}
	// One owner's jobs are made one after another, or many requests at once would all find room. That holds for
	// one server: on AWS, where each Lambda makes one job at a time, an owner can pass the limit by as many as
	// are running.
	free, err := s.making.take(c.Context(), c.owner)
	if err != nil {
		return events.Job{}, err
	}
	defer free()
	if err := s.checkRoom(c.Context(), c.owner); err != nil {
		return events.Job{}, err
	}
	now := s.jobs.Now()
	j := events.Job{
		ID: events.JobID(events.NewID()), Owner: c.owner, Training: sub.destination != "", Destination: sub.destination,
		Model: sub.target.model, Version: sub.target.version, Program: version.Program, Base: version.Base.Name,
		OutputSecret: events.NewSecret(), OutputTemp: events.NewTempName(), StreamSecret: events.NewSecret(),
		Status: events.Starting, CreatedAt: events.At(now), Webhook: sub.webhook, Links: c.links,
	}
	if sub.cancelAfter > 0 {
		j.CancelAfter = events.At(now.Add(sub.cancelAfter.duration()))
	}
	j.Seed = seedOf(version, input)
	in := &inliner{server: s, call: c, job: &j}
	if w := sub.waitsFor; w != nil {
		j.WaitsFor = w.key
		j.Sources = append(j.Sources, events.Source{URL: w.url, Key: w.key, Name: w.name})
		in.known = w.url
		in.uploads = append(in.uploads, w.token)
	}
	if err := in.resolve(input); err != nil {
		return events.Job{}, err
	}
	if j.Input, err = marshalInput(input); err != nil {
		return events.Job{}, err
	}
	for _, token := range in.uploads {
		if err := s.reg.Use(c.Context(), token, j.ID, now); err != nil {
			return events.Job{}, err
		}
	}
	if err := s.jobs.Create(c.Context(), &j); err != nil {
		return events.Job{}, err
	}
	if j.WaitsFor == "" {
		// The job is stored: if its message cannot be sent now, the sweep sends it. The client
		// must not be told to try again, or it would get two.
		if err := s.jobs.Enqueue(context.WithoutCancel(c.Context()), j.ID, j.Program); err != nil {
			s.Log.Error("a job's message was not sent; the sweep will send it", "job", string(j.ID), "error", err)
		}
	}
	return j, nil
}

// maxInput is how many bytes an input may have once what is large in it is kept elsewhere.
const maxInput = 64 << 10

func marshalInput(input map[string]any) (json.RawMessage, error) {
	b, err := events.Marshal(input)
	if err == nil && len(b) > maxInput {
		err = events.Invalid("string_lte", "input", "The input is too long: at most 64 KB without the data it carries")
	}
	return b, err
}

// seedOf is the seed that the input names, or its schema's default, or one drawn now.
func seedOf(v events.CatalogueVersion, input map[string]any) int64 {
	if n, ok := input["seed"].(json.Number); ok {
		if i, ok := events.Integer(n); ok {
			return i
		}
	}
	if d, ok := v.Schema.Property("seed")["default"].(int); ok {
		return int64(d)
	}
	return events.NewSeed()
}

// checkRoom holds an owner to the limit of jobs that have not ended.
func (s *server) checkRoom(ctx context.Context, o events.Owner) error {
	n, err := s.jobs.Open(ctx, o)
	if err != nil {
		return err
	}
	if n >= s.Limits.OpenJobs {
		return &problem{status: http.StatusTooManyRequests, title: "Too Many Requests", retryAfter: 1,
			detail: "Request was throttled. You have too many predictions and trainings that have not ended. Expected available in 1 second."}
	}
	return nil
}

// readWebhook reads webhook, webhook_completed (of the client of February 2023: the terminal event only)
// and webhook_events_filter.
func readWebhook(o map[string]any) (*events.Webhook, error) {
	address, err := text(o, "webhook")
	if err != nil {
		return nil, err
	}
	name, filter := "webhook", events.WebhookEvents
	if address == "" {
		if address, err = text(o, "webhook_completed"); err != nil {
			return nil, err
		}
		name, filter = "webhook_completed", []events.WebhookEvent{events.WebhookCompleted}
	}
	if f := o["webhook_events_filter"]; f != nil {
		list, ok := f.([]any)
		if !ok {
			return nil, events.Invalid("invalid_type", "webhook_events_filter", "Invalid type. Expected: array, given: "+jsonType(f))
		}
		filter = nil
		for _, x := range list {
			e, _ := x.(string)
			if !slices.Contains(events.WebhookEvents, events.WebhookEvent(e)) {
				return nil, events.Invalid("enum", "webhook_events_filter", `webhook_events_filter must be one of the following: "start", "output", "logs", "completed"`)
			}
			if !slices.Contains(filter, events.WebhookEvent(e)) {
				filter = append(filter, events.WebhookEvent(e))
			}
		}
	}
	if address == "" {
		return nil, nil
	}
	if !events.ValidWebhookURL(address) {
		return nil, events.Invalid("format", name, "Does not match format 'uri'")
	}
	if u, err := url.Parse(address); err != nil || u.User != nil {
		// It is said now, for no receiver would ever be told: see infra/fetch.
		return nil, events.Invalid("format", name, "The URL holds a user name or password; check the signature instead, or put a secret into its path")
	}
	return &events.Webhook{URL: address, Events: filter}, nil
}
