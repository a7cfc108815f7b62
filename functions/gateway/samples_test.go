package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/gateway"
	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/infra"
)

// sample reads a function's event.
func sample(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("../../events/samples/lambda-" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// TestSamplesOfHTTP gives each function's event to the API, in the order in which
// a client calls them.
func TestSamplesOfHTTP(t *testing.T) {
	s, err := apitest.Start(t.TempDir(), apitest.Options{Idle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	token, err := s.Registry.CreateToken(t.Context(), "alice", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string, change func(*lambdaevents.APIGatewayV2HTTPRequest), v any) int {
		t.Helper()
		var e lambdaevents.APIGatewayV2HTTPRequest
		sample(t, name, &e)
		e.Headers["authorization"] = "Bearer " + token
		if change != nil {
			change(&e)
		}
		out, err := gateway.HTTP(s.Handler)(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out.Body), v); err != nil {
			t.Fatalf("%s answered %d: %v: %.200s", name, out.StatusCode, err, out.Body)
		}
		return out.StatusCode
	}
	var up events.Upload
	if code := ask("upload", nil, &up); code != http.StatusOK || !strings.HasSuffix(up.ServingURL, "/neon-sign.zip") {
		t.Errorf("upload answered %d: %+v", code, up)
	}
	var p events.Prediction
	if code := ask("submit", nil, &p); code != http.StatusCreated || p.Status != events.Starting {
		t.Errorf("submit answered %d: %+v", code, p)
	}
	var shown events.Prediction
	code := ask("status", func(e *lambdaevents.APIGatewayV2HTTPRequest) { e.RawPath = "/v1/predictions/" + string(p.ID) }, &shown)
	if code != http.StatusOK || shown.ID != p.ID {
		t.Errorf("status answered %d: %+v", code, shown)
	}
	var problem events.Problem
	if code := ask("status", nil, &problem); code != http.StatusNotFound || problem.Detail == "" {
		t.Errorf("a job that is not there was answered %d: %+v", code, problem)
	}
}

// fakeQueue notes what is extended.
type fakeQueue struct {
	infra.Queue
	extended map[string]time.Duration
}

func (q *fakeQueue) Extend(_ context.Context, receipt string, d time.Duration) error {
	q.extended[receipt] = d
	return nil
}

func TestSamplesOfQueues(t *testing.T) {
	for name, prefix := range map[string]string{"ingest": `{"Records"`, "deliver": `{"type":"output.announce"`} {
		t.Run(name, func(t *testing.T) {
			var e lambdaevents.SQSEvent
			sample(t, name, &e)
			q := &fakeQueue{extended: map[string]time.Duration{}}
			var got []string
			out, err := gateway.Queue(q, func(_ context.Context, body []byte) error { got = append(got, string(body)); return nil })(t.Context(), e)
			if err != nil || out.BatchItemFailures == nil || len(out.BatchItemFailures) > 0 || len(got) != len(e.Records) || !strings.HasPrefix(got[0], prefix) {
				t.Errorf("got %q, failures %v, %v", got, out.BatchItemFailures, err)
			}
			e.Records[0].Attributes["ApproximateReceiveCount"] = "3"
			out, err = gateway.Queue(q, func(_ context.Context, body []byte) error {
				if string(body) == e.Records[0].Body {
					return errors.New("not now")
				}
				return nil
			})(t.Context(), e)
			if err != nil || len(out.BatchItemFailures) != 1 || out.BatchItemFailures[0].ItemIdentifier != e.Records[0].MessageId {
				t.Errorf("failures %v, %v; want the first message alone", out.BatchItemFailures, err)
			}
			if d := q.extended[e.Records[0].ReceiptHandle]; d != 8*time.Second {
				t.Errorf("the third try's pause is %v, want 8 s", d)
			}
		})
	}
}

func TestSampleOfNotify(t *testing.T) {
	b, err := os.ReadFile("../../events/samples/lambda-notify.json")
	if err != nil {
		t.Fatal(err)
	}
	var got []infra.Change
	out, err := gateway.Changes(func(_ context.Context, c infra.Change) error { got = append(got, c); return nil })(t.Context(), b)
	if err != nil || out.BatchItemFailures == nil || len(got) != 1 || got[0].Old.Status != "starting" || got[0].New.Status != "succeeded" || !json.Valid(got[0].New.Payload) {
		t.Fatalf("got %+v, failures %v, %v", got, out.BatchItemFailures, err)
	}
	// What follows a failure is not handled, and comes again with it.
	var many struct{ Records []map[string]any }
	if err := json.Unmarshal(b, &many); err != nil {
		t.Fatal(err)
	}
	many.Records = slices.Repeat(many.Records, 3)
	if b, err = json.Marshal(many); err != nil {
		t.Fatal(err)
	}
	calls := 0
	out, err = gateway.Changes(func(context.Context, infra.Change) error {
		if calls++; calls == 2 {
			return errors.New("not now")
		}
		return nil
	})(t.Context(), b)
	if err != nil || calls != 2 || len(out.BatchItemFailures) != 1 || out.BatchItemFailures[0].ItemIdentifier == "" {
		t.Errorf("%d calls, failures %v, %v", calls, out.BatchItemFailures, err)
	}
	if _, err := gateway.Changes(func(context.Context, infra.Change) error { return nil })(t.Context(), []byte("[]")); err == nil {
		t.Error("an event that is none was taken")
	}
}

// TestSampleOfSweep: the clock's event is taken, and holds nothing that is asked for.
func TestSampleOfSweep(t *testing.T) {
	b, err := os.ReadFile("../../events/samples/lambda-sweep.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := apitest.Start(t.TempDir(), apitest.Options{Idle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	swept := sweep.New(s.Ports, 0, slog.New(slog.DiscardHandler)).Sweep
	if out, err := lambda.NewHandler(swept).Invoke(t.Context(), b); err != nil || string(out) != "null" {
		t.Errorf("got %s, %v", out, err)
	}
}

// TestSampleOfWeb: a page, for who asks for pages.
func TestSampleOfWeb(t *testing.T) {
	s, err := apitest.Start(t.TempDir(), apitest.Options{Idle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	site := web.New(web.Config{Ports: s.Ports, Catalogue: s.Catalogue, API: s.Handler, Log: slog.New(slog.DiscardHandler)})
	var e lambdaevents.APIGatewayV2HTTPRequest
	sample(t, "web", &e)
	out, err := gateway.HTTP(site)(t.Context(), e)
	if err != nil || out.StatusCode != http.StatusOK || !strings.HasPrefix(out.Headers["Content-Type"], "text/html") || !strings.Contains(out.Body, "<html") {
		t.Errorf("got %d %v %.100s, %v", out.StatusCode, out.Headers, out.Body, err)
	}
}
