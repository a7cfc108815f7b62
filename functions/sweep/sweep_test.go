package sweep_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/infra"
)

type m = map[string]any

var quiet = slog.New(slog.DiscardHandler)

func start(t *testing.T) (*apitest.Service, *apitest.Client, *apitest.Clock) {
	t.Helper()
	clock := &apitest.Clock{}
	s, url, token := apitest.New(t, apitest.Options{Clock: clock, Idle: true})
	return s, &apitest.Client{T: t, URL: url, Token: token}, clock
}

// TestUploadThatNeverComes holds the hour, through the whole service.
func TestUploadThatNeverComes(t *testing.T) {
	_, c, clock := start(t)
	up := c.Upload("x.zip", m{"train": m{"model": "replicate/lora-training"}}, nil)
	clock.Advance(50 * time.Minute)
	time.Sleep(50 * time.Millisecond)
	if p := c.Prediction(200, "GET", up.Prediction.URLs.Get, nil); p.Status != events.Starting {
		t.Errorf("after 50 minutes: %s", p.Status)
	}
	clock.Advance(11 * time.Minute)
	p := c.Wait(up.Prediction.ID)
	if p.Status != events.Failed || !strings.Contains(*p.Error, "within an hour") {
		t.Errorf("got %s %v", p.Status, p.Error)
	}
	// What comes now is stored and starts nothing.
	if a := (&apitest.Client{T: t}).Do("PUT", up.UploadURL, apitest.Zip(1)); a.Status != 403 {
		t.Errorf("the upload_url still works: %d", a.Status)
	}
}

// TestExpiry holds that an upload goes after its time, unless a job still needs it.
func TestExpiry(t *testing.T) {
	s, c, clock := start(t)
	unused, used := c.Upload("unused.zip", nil, apitest.Zip(1)), c.Upload("used.zip", nil, apitest.Zip(1))
	p := c.Prediction(201, "POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": used.ServingURL}})
	clock.Advance(sweep.UploadTTL + time.Hour)
	sweeper := sweep.New(s.Ports, 0, quiet)
	if err := sweeper.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	status := func(url string) int { return c.Do("GET", url, nil).Status }
	if got := status(unused.ServingURL); got != 404 {
		t.Errorf("unused: %d", got)
	}
	if got := status(used.ServingURL); got != 200 {
		t.Errorf("needed by a queued job: %d", got)
	}
	c.Prediction(200, "POST", p.URLs.Cancel, nil)
	clock.Advance(sweep.UploadTTL + time.Hour)
	if err := sweeper.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := status(used.ServingURL); got != 404 {
		t.Errorf("after its job ended: %d", got)
	}
}

// TestOutputsStay holds that no sweep deletes an output, however old.
func TestOutputsStay(t *testing.T) {
	clock := &apitest.Clock{}
	s, url, token := apitest.New(t, apitest.Options{Clock: clock})
	c := &apitest.Client{T: t, URL: url, Token: token}
	p := c.Wait(c.Draw(m{"prompt": "x"}).ID)
	clock.Advance(10 * 365 * 24 * time.Hour)
	if err := sweep.New(s.Ports, 0, quiet).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := c.Do("GET", p.Output.([]any)[0].(string), nil); a.Status != 200 {
		t.Errorf("got %d", a.Status)
	}
}

// counted counts who asks how deep a queue is.
type counted struct {
	infra.Queues
	asked map[string]int
}

type countedQueue struct {
	infra.Queue
	ask func()
}

func (c counted) Queue(name string) infra.Queue {
	return countedQueue{c.Queues.Queue(name), func() { c.asked[name]++ }}
}

func (q countedQueue) Depth(ctx context.Context) (infra.Depth, error) {
	q.ask()
	return q.Queue.Depth(ctx)
}

// TestQueuesAreAsked holds that every sweep asks both queues of jobs for their depth, which keeps SQS
// telling it to the alarms that start runners.
func TestQueuesAreAsked(t *testing.T) {
	s, _, _ := start(t)
	asked := map[string]int{}
	s.Ports.Queues = counted{s.Ports.Queues, asked}
	if err := sweep.New(s.Ports, 0, quiet).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{infra.PredictionQueue, infra.TrainingQueue} {
		if asked[name] != 1 {
			t.Errorf("the queue %s was asked %d times, want once", name, asked[name])
		}
	}
}
