package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

type m = map[string]any

func service(t *testing.T, o apitest.Options) (*apitest.Service, *apitest.Client) {
	t.Helper()
	s, url, token := apitest.New(t, o)
	return s, &apitest.Client{T: t, URL: url, Token: token}
}

// TestMainPath is the announcement's: upload a zip, train, draw with what was trained.
func TestMainPath(t *testing.T) {
	_, c := service(t, apitest.Options{})
	zip := apitest.Zip(3)
	up := c.Upload("bob-ross.zip", nil, zip)
	if got := (&apitest.Client{T: t}).Do("GET", up.ServingURL, nil); got.Status != 200 || !bytes.Equal(got.Body, zip) || got.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("serving_url: %d, %d bytes, %s", got.Status, len(got.Body), got.Header.Get("Content-Type"))
	}
	p := c.Prediction(201, "POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": up.ServingURL, "task": "style"}})
	if p.Status != events.Starting || p.Version != events.AnnouncedTrainingID || p.Model != "replicate/lora-training" || p.Output != nil || p.Error != nil {
		t.Errorf("created: %+v", p)
	}
	done := c.Wait(p.ID)
	lora, _ := done.Output.(string)
	name := lora[strings.LastIndex(lora, "/")+1:]
	if done.Status != events.Succeeded || !strings.HasPrefix(name, "tmp") || !strings.HasSuffix(name, "bob-ross.safetensors") || len(name) != len("tmp12345678bob-ross.safetensors") {
		t.Fatalf("trained: %s, %q", done.Status, lora)
	}
	if _, n, ok := events.ParseProgress(done.Logs); !ok || n != 10 {
		t.Errorf("no progress in %q", done.Logs)
	}
	drawn := c.Wait(c.Draw(m{"prompt": "a painting of dinosaur in the style of <1>", "lora_urls": lora}).ID)
	urls, _ := drawn.Output.([]any)
	if drawn.Status != events.Succeeded || len(urls) != 1 {
		t.Fatalf("drawn: %s %v %v", drawn.Status, drawn.Output, drawn.Error)
	}
	if got := (&apitest.Client{T: t}).Do("GET", urls[0].(string), nil); got.Status != 200 || got.Header.Get("Content-Type") != "image/png" {
		t.Errorf("output: %d %s", got.Status, got.Header.Get("Content-Type"))
	}
	if drawn.Metrics.PredictTime <= 0 || drawn.Metrics.TotalTime < drawn.Metrics.PredictTime {
		t.Errorf("metrics: %+v", drawn.Metrics)
	}
}

// TestUploadWithTrain holds that the PUT alone starts the training, once.
func TestUploadWithTrain(t *testing.T) {
	_, c := service(t, apitest.Options{Train: 200 * time.Millisecond})
	up := c.Upload("x.zip", m{"train": m{"model": "replicate/lora-training", "input": m{"task": "object"}}}, nil)
	if up.Prediction == nil || up.Prediction.Status != events.Starting {
		t.Fatalf("no prediction: %+v", up)
	}
	time.Sleep(50 * time.Millisecond)
	if p := c.Prediction(200, "GET", up.Prediction.URLs.Get, nil); p.Status != events.Starting {
		t.Errorf("before the PUT: %s", p.Status)
	}
	first, second := apitest.Zip(2), []byte("not a zip at all")
	c.Put(up.UploadURL, first)
	for c.Prediction(200, "GET", up.Prediction.URLs.Get, nil).Status == events.Starting {
		time.Sleep(5 * time.Millisecond)
	}
	c.Put(up.UploadURL, second) // allowed; the job stays on what started it
	if p := c.Wait(up.Prediction.ID); p.Status != events.Succeeded {
		t.Errorf("got %s: %v", p.Status, *p.Error)
	}
	if got := c.Do("GET", up.ServingURL, nil); !bytes.Equal(got.Body, second) {
		t.Error("serving_url does not show the second PUT")
	}
}

func TestUploadWithTrainRefusals(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true})
	for name, tt := range map[string]struct {
		body   any
		status int
	}{
		"OK/NoTrain":         {m{"other": 1}, 200},
		"OK/Destinationless": {m{"train": m{"version": events.AnnouncedTrainingID}}, 200},
		"ErrNoVersion":       {m{"train": m{"input": m{}}}, 422},
		"ErrUnknownModel":    {m{"train": m{"model": "no/model"}}, 422},
		"ErrDraws":           {m{"train": m{"model": "replicate/lora"}}, 422},
		"ErrInstanceData":    {m{"train": m{"model": "replicate/lora-training", "input": m{"instance_data": "https://x.invalid/a.zip"}}}, 422},
		"ErrTask":            {m{"train": m{"model": "replicate/lora-training", "input": m{"task": "cat"}}}, 422},
		"ErrTrainType":       {m{"train": 5}, 422},
		"ErrDestination":     {m{"train": m{"model": "replicate/lora-training", "destination": "me/none"}}, 404},
		"ErrWebhook":         {m{"train": m{"model": "replicate/lora-training", "webhook": "x"}}, 422},
		"ErrSyntax":          {"{", 400},
		"ErrInputType":       {m{"train": m{"model": "replicate/lora-training", "input": []int{}}}, 422},
	} {
		t.Run(name, func(t *testing.T) {
			if a := c.Do("POST", "/v1/upload/x.zip", tt.body); a.Status != tt.status {
				t.Errorf("got %d, want %d: %s", a.Status, tt.status, a.Body)
			}
		})
	}
	t.Run("ErrNotAZip", func(t *testing.T) {
		up := c.Upload("x.zip", m{"train": m{"model": "replicate/lora-training"}}, []byte("<!doctype html><title>Sign in</title>"))
		p := c.Wait(up.Prediction.ID)
		if p.Status != events.Failed || !strings.Contains(*p.Error, "web page") {
			t.Errorf("got %s %v", p.Status, p.Error)
		}
	})
	t.Run("ErrEmptyFile", func(t *testing.T) {
		up := c.Upload("x.zip", m{"train": m{"model": "replicate/lora-training"}}, []byte{})
		p := c.Wait(up.Prediction.ID)
		if p.Status != events.Failed || !strings.Contains(*p.Error, "empty") {
			t.Errorf("got %s %v", p.Status, p.Error)
		}
	})
}

// TestInputs holds that every form in which the clients send a file works.
func TestInputs(t *testing.T) {
	_, c := service(t, apitest.Options{})
	zip := apitest.Zip(3)
	file := c.File("größe & 名前.zip", zip)
	data := "data:application/zip;base64," + base64.StdEncoding.EncodeToString(append(zip, make([]byte, 20000)...))
	for name, in := range map[string]string{
		"File": file.URLs.Get, "SmallData": "data:application/zip;base64," + base64.StdEncoding.EncodeToString(zip), "LargeData": data,
		"ServingURL": c.Upload("x.zip", nil, zip).ServingURL,
	} {
		t.Run(name, func(t *testing.T) {
			p := c.Prediction(201, "POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": in}})
			var shown struct {
				URL string `json:"instance_data"`
			}
			if err := json.Unmarshal(p.Input, &shown); err != nil {
				t.Fatal(err)
			}
			if name != "LargeData" && shown.URL != in {
				t.Errorf("the input is not echoed: %s", p.Input)
			}
			if name == "LargeData" && (!strings.HasPrefix(shown.URL, c.URL+"/serving/") || len(p.Input) > 500) {
				t.Errorf("inlined data is echoed: %.200s", p.Input)
			}
			if p := c.Wait(p.ID); p.Status != events.Succeeded {
				// A zip with zeros behind it is none to Go's reader within its last 64 KB: it still opens.
				t.Errorf("got %s: %v", p.Status, *p.Error)
			}
		})
	}
	t.Run("ErrDeletedFile", func(t *testing.T) {
		if a := c.Do("DELETE", "/v1/files/"+file.ID, nil); a.Status != 204 {
			t.Fatal(a.Status)
		}
		a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": file.URLs.Get}})
		if p := a.Problem(t); a.Status != 422 || !strings.Contains(p.Detail, "instance_data") {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	})
	t.Run("ErrNeverPut", func(t *testing.T) {
		a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": c.Upload("y.zip", nil, nil).ServingURL}})
		if p := a.Problem(t); a.Status != 422 || !strings.Contains(p.Detail, "uploaded") {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	})
	t.Run("ErrBrokenData", func(t *testing.T) {
		a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": "data:;base64,****"}})
		if a.Status != 422 {
			t.Errorf("got %d %s", a.Status, a.Body)
		}
	})
}

// TestTraining holds the way of today: a destination gets a version that draws with what was trained.
func TestTraining(t *testing.T) {
	_, c := service(t, apitest.Options{})
	model := m{"owner": "me", "name": "bob", "visibility": "private", "hardware": "cpu"}
	if a := c.Do("POST", "/v1/models", model); a.Status != 201 {
		t.Fatalf("model: %d %s", a.Status, a.Body)
	}
	if a := c.Do("POST", "/v1/models", model); a.Status != 409 {
		t.Errorf("the same model twice: %d", a.Status)
	}
	zip := c.Upload("bob.zip", nil, apitest.Zip(1)).ServingURL
	tr := c.Prediction(201, "POST", "/v1/models/replicate/lora-training/versions/"+events.AnnouncedTrainingID+"/trainings", m{"destination": "me/bob", "input": m{"instance_data": zip}})
	if tr.URLs.Get != c.URL+"/v1/trainings/"+string(tr.ID) {
		t.Errorf("urls.get: %s", tr.URLs.Get)
	}
	done := c.Wait(tr.ID)
	out, _ := done.Output.(map[string]any)
	version, _ := out["version"].(string)
	if done.Status != events.Succeeded || !strings.HasPrefix(version, "me/bob:") {
		t.Fatalf("got %s %v", done.Status, done.Output)
	}
	run := c.Prediction(201, "POST", "/v1/predictions", m{"version": version, "input": m{"prompt": "<1>"}})
	if p := c.Wait(run.ID); p.Status != events.Succeeded || p.Model != "me/bob" || !strings.Contains(string(p.Input), out["weights"].(string)) {
		t.Errorf("got %s %s %s", p.Status, p.Model, p.Input)
	}
	latest := c.Prediction(201, "POST", "/v1/models/me/bob/predictions", m{"input": m{"prompt": "<1>"}})
	if latest.Version != strings.TrimPrefix(version, "me/bob:") {
		t.Errorf("the latest version is %s", latest.Version)
	}
	var mod events.Model
	c.Do("GET", "/v1/models/me/bob", nil).JSON(t, &mod)
	if mod.LatestVersion == nil || mod.LatestVersion.OpenAPISchema.Property("lora_urls")["default"] != out["weights"] {
		t.Errorf("the version's schema does not default to its weights")
	}
	if a := c.Do("DELETE", "/v1/models/me/bob", nil); a.Status != 403 {
		t.Errorf("a model with versions was deleted: %d", a.Status)
	}
	// Deleting the training takes its weights and its version along.
	c.Wait(latest.ID)
	if a := c.Do("DELETE", "/v1/trainings/"+string(tr.ID), nil); a.Status != 204 {
		t.Fatal(a.Status)
	}
	for _, path := range []string{"/v1/trainings/" + string(tr.ID), "/v1/predictions/" + string(tr.ID), out["weights"].(string), "/v1/models/me/bob/versions/" + latest.Version} {
		if a := c.Do("GET", path, nil); a.Status != 404 {
			t.Errorf("GET %s: %d", path, a.Status)
		}
	}
	if a := c.Do("DELETE", "/v1/models/me/bob", nil); a.Status != 204 {
		t.Errorf("the empty model stays: %d %s", a.Status, a.Body)
	}
}

// TestDelete holds that DELETE removes record, log, outputs and checkpoint, and only those.
func TestDelete(t *testing.T) {
	s, c := service(t, apitest.Options{})
	keep, gone := c.Wait(c.Draw(m{"prompt": "keep"}).ID), c.Wait(c.Draw(m{"prompt": "gone"}).ID)
	url := func(p events.Prediction) string { return p.Output.([]any)[0].(string) }
	path := "/v1/predictions/" + string(gone.ID)
	if a := c.Do("DELETE", path, nil); a.Status != 204 || len(a.Body) != 0 {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	for _, tt := range []struct{ method, path string }{{"GET", path}, {"DELETE", path}, {"POST", path + "/cancel"}, {"GET", url(gone)}, {"GET", gone.URLs.Stream}} {
		if a := c.Do(tt.method, tt.path, nil); a.Status != 404 {
			t.Errorf("%s %s: %d", tt.method, tt.path, a.Status)
		}
	}
	if a := c.Do("GET", url(keep), nil); a.Status != 200 {
		t.Errorf("another's output: %d", a.Status)
	}
	if log, err := s.Ports.Logs.Read(t.Context(), string(gone.ID), 0, 0); err != nil || len(log) != 0 {
		t.Errorf("the log stays: %d bytes, %v", len(log), err)
	}
	var page events.Page
	c.Do("GET", "/v1/predictions", nil).JSON(t, &page)
	if len(page.Results) != 1 {
		t.Errorf("%d listed", len(page.Results))
	}
	// A running one stops and leaves nothing.
	_, c2 := service(t, apitest.Options{Draw: 10 * time.Second})
	p := c2.Draw(m{"prompt": "x"})
	if a := c2.Do("DELETE", "/v1/predictions/"+string(p.ID), nil); a.Status != 204 {
		t.Fatal(a.Status)
	}
}

// TestWait holds Prefer: wait to what the clients take for finished.
func TestWait(t *testing.T) {
	_, c := service(t, apitest.Options{Draw: 400 * time.Millisecond, Train: time.Hour})
	a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}}, "Prefer", "wait=5")
	var p events.Prediction
	a.JSON(t, &p)
	if a.Status != 201 || p.Status != events.Succeeded || p.Output == nil || a.Header.Get("Preference-Applied") != "wait=5" || a.Header.Get("Location") != p.URLs.Get {
		t.Errorf("got %d %s %v %v", a.Status, p.Status, p.Output, a.Header)
	}
	begun := time.Now()
	zip := c.Upload("x.zip", nil, apitest.Zip(1)).ServingURL
	p = c.Prediction(201, "POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": zip}}, "Prefer", "wait=1")
	if took := time.Since(begun); p.Status != events.Starting || p.Output != nil || took < 500*time.Millisecond {
		t.Errorf("got %s after %v", p.Status, took)
	}
	if g := c.Prediction(200, "GET", p.URLs.Get, nil); g.Status != events.Processing {
		t.Errorf("GET tells %s", g.Status)
	}
	canceled := c.Prediction(200, "POST", p.URLs.Cancel, nil, "Content-Type", "application/json")
	if canceled.Status != events.Canceled || canceled.CompletedAt.IsZero() {
		t.Errorf("cancel answers %+v", canceled)
	}
	if again := c.Prediction(200, "POST", p.URLs.Cancel, nil); again.CompletedAt != canceled.CompletedAt {
		t.Error("a second cancel changes the time")
	}
	if a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}}, "Prefer", "wait=x"); a.Status != 422 {
		t.Errorf("Prefer: wait=x: %d", a.Status)
	}
	if a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}}, "Cancel-After", "soon"); a.Status != 422 {
		t.Errorf("Cancel-After: soon: %d", a.Status)
	}
}

func TestStream(t *testing.T) {
	_, c := service(t, apitest.Options{Draw: 300 * time.Millisecond})
	p := c.Draw(m{"prompt": "x", "num_outputs": 2})
	anonymous := &apitest.Client{T: t}
	for _, when := range []string{"live", "replay"} {
		a := anonymous.Do("GET", p.URLs.Stream, nil)
		if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
			t.Fatalf("%s: %d %s", when, a.Status, a.Header.Get("Content-Type"))
		}
		var kinds []string
		for _, e := range strings.Split(string(a.Body), "\n\n") {
			if rest, ok := strings.CutPrefix(e, "event: "); ok {
				kind, fields, _ := strings.Cut(rest, "\n")
				kinds = append(kinds, kind)
				if !strings.HasPrefix(fields, "id: ") || !strings.Contains(fields, "\ndata: ") {
					t.Errorf("%s: an event without id or data: %q", when, e)
				}
			}
		}
		if n := len(kinds); n < 4 || kinds[0] != "logs" || strings.Join(kinds[n-3:], " ") != "output output done" {
			t.Errorf("%s: events %v", when, kinds)
		}
	}
	// A reader that was cut off names the last event it got, and gets those after it: the whole log once.
	whole := string(anonymous.Do("GET", p.URLs.Stream, nil).Body)
	for _, cut := range []string{"\n\nevent: output", "\n\nevent: done"} {
		before, _, ok := strings.Cut(whole, cut)
		_, id, ok2 := strings.Cut(before[strings.LastIndex(before, "\nid: ")+1:], "id: ")
		id, _, _ = strings.Cut(id, "\n")
		a := anonymous.Do("GET", p.URLs.Stream, nil, "Last-Event-ID", id)
		if !ok || !ok2 || a.Status != http.StatusOK || before+"\n\n"+strings.TrimPrefix(string(a.Body), ": keep-alive\n\n") != whole {
			t.Errorf("after %s: %d %q", id, a.Status, a.Body)
		}
	}
	_, id, _ := strings.Cut(whole, "event: done\nid: ")
	id, _, _ = strings.Cut(id, "\n")
	if a := anonymous.Do("GET", p.URLs.Stream, nil, "Last-Event-ID", id); a.Status != http.StatusNoContent {
		t.Errorf("after done: %d %q", a.Status, a.Body)
	}
	for _, id := range []string{"junk", "-1:0", "99999999999999999999:0", "1:2:3", "007:0"} {
		if a := anonymous.Do("GET", p.URLs.Stream, nil, "Last-Event-ID", id); string(a.Body) != whole {
			t.Errorf("after %s, which is no event: %d %q", id, a.Status, a.Body)
		}
	}
	if a := anonymous.Do("GET", p.URLs.Stream[:len(p.URLs.Stream)-2]+"zz", nil); a.Status != 404 {
		t.Errorf("an altered stream URL: %d", a.Status)
	}
}
