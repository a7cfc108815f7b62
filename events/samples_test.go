package events

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lowrank/lowrank/events/schemas"
)

var update = flag.Bool("update", false, "write the golden samples anew")

// compileSchema compiles one of schemas/ with what it refers to.
func compileSchema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	entries, err := fs.Glob(schemas.Files, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := schemas.Files.ReadFile(e)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", e, err)
		}
		if err := c.AddResource("https://lowrank.test/"+e, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://lowrank.test/" + name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t testing.TB, schema string, doc []byte) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := compileSchema(t, schema).Validate(v); err != nil {
		t.Errorf("does not fit %s: %v", schema, err)
	}
}

var noon = At(time.Date(2023, 2, 7, 12, 0, 0, 123456000, time.UTC))

func later(d time.Duration) Time { return At(noon.Add(d)) }

// sampleJob is a prediction that has just been made.
func sampleJob() Job {
	return Job{
		ID: "abcdefghijklmnopqrstuvwxyz", Owner: "me", Model: "replicate/lora", Version: AnnouncedLoraID, Program: ProgramLora, Base: "embedded",
		Input: json.RawMessage(`{"prompt":"a painting of dinosaur in the style of <1> & more","seed":7}`), Seed: 7,
		OutputSecret: "outputsecretoutputsecretoutputse", OutputTemp: "tmpabcdefgh", StreamSecret: "streamsecretstreamsecretstreamse",
		Status: Starting, CreatedAt: noon, Links: Links{API: "http://127.0.0.1:8010", Outputs: "http://127.0.0.1:8010", Stream: true},
	}
}

func sampleTraining() Job {
	j := sampleJob()
	j.Model, j.Version, j.Program = "replicate/lora-training", AnnouncedTrainingID, ProgramTraining
	j.Input = json.RawMessage(`{"instance_data":"http://127.0.0.1:8010/serving/t/bob-ross.zip","task":"style"}`)
	j.Sources = []Source{{URL: "http://127.0.0.1:8010/serving/t/bob-ross.zip", Key: "uploads/t/bob-ross.zip", Generation: "g1", Name: "bob-ross.zip"}}
	return j
}

// finish runs a job to its end with one output.
func finish(j Job, name, contentType, newVersion string) Job {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	must(j.Start("holder", later(time.Second).Time, 30*time.Second))
	out := OutputObject{Key: j.OutputKey(name), Size: 112, SHA256: strings.Repeat("ab", 32), ContentType: contentType}
	must(j.Succeed("holder", later(3*time.Second).Time, []OutputObject{out}, newVersion))
	j.LogSize = 17
	return j
}

// TestSamples holds every type to its golden sample and both to the schema.
func TestSamples(t *testing.T) {
	started := sampleJob()
	if err := started.Start("holder", later(time.Second).Time, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	started.Progress = Progress{Stage: "sampling", Done: 3, Total: 20}
	started.Webhook = &Webhook{URL: "https://example.com/hook", Events: WebhookEvents}
	drawn := finish(sampleJob(), "out-0.png", "image/png", "")
	trained := sampleTraining()
	trained = finish(trained, trained.TrainedName("bob-ross.zip"), "application/octet-stream", "")
	training := sampleTraining()
	training.Training, training.Destination = true, "me/bob"
	training = finish(training, training.TrainedName("bob-ross.zip"), "application/octet-stream", "me/bob:"+strings.Repeat("cd", 32))
	failed := sampleTraining()
	if err := failed.GiveUp(later(time.Hour).Time, "The zip was not uploaded: nothing was PUT to the upload_url within an hour."); err != nil {
		t.Fatal(err)
	}
	canceled := sampleJob()
	if err := canceled.Cancel(later(time.Minute).Time); err != nil {
		t.Fatal(err)
	}
	waiting := sampleTraining()
	waiting.WaitsFor = waiting.Sources[0].Key
	waiting.Sources[0].Generation = ""
	catalogue, err := NewCatalogue(BaseLimits{Name: "sd15", SHA256: strings.Repeat("ef", 32)})
	if err != nil {
		t.Fatal(err)
	}
	lora := catalogue.Versions(ProgramLora)[0]
	version := Version{ID: lora.ID, CreatedAt: noon, CogVersion: CogVersion, OpenAPISchema: lora.Schema}
	about := "Draw with Stable Diffusion and any number of LoRA concepts."
	shown := started.AsStarted()
	waitingView := waiting.View("")
	next := "http://127.0.0.1:8010/v1/predictions?cursor=abc"

	tests := []struct {
		name, schema string
		value        any
	}{
		{"job-starting", "job", sampleJob()},
		{"job-waiting", "job", waiting},
		{"job-processing", "job", started},
		{"job-succeeded", "job", training},
		{"prediction-starting", "prediction", sampleJobView(sampleJob())},
		{"prediction-succeeded", "prediction", drawn.View("Using seed: 7\n100%")},
		{"prediction-trained", "prediction", trained.View("Using seed: 7\n100%")},
		{"prediction-failed", "prediction", failed.View("")},
		{"prediction-canceled", "prediction", canceled.View("")},
		{"training-succeeded", "prediction", training.View("Using seed: 7\n100%")},
		{"webhook-start", "prediction", shown.View("")},
		{"webhook-logs", "prediction", shown.View("Using seed: 7\n")},
		{"webhook-output", "prediction", drawn.OutputView("Using seed: 7\n100%")},
		{"webhook-completed", "prediction", drawn.View("Using seed: 7\n100%")},
		{"version", "version", version},
		{"model", "model", Model{URL: "http://127.0.0.1:8010/replicate/lora", Owner: "replicate", Name: "lora", Description: &about, Visibility: "public", LatestVersion: &version}},
		{"file", "file", File{ID: "abcdefghijklmnopqrstuvwxyz", Name: "größe & 名前 (1).zip", ContentType: "application/zip", Size: 3, ETag: strings.Repeat("0", 32), Checksums: Checksums{SHA256: strings.Repeat("1", 64), MD5: strings.Repeat("0", 32)}, Metadata: map[string]any{"customer_reference_id": 123}, CreatedAt: noon, URLs: FileURLs{Get: "http://127.0.0.1:8010/v1/files/abcdefghijklmnopqrstuvwxyz"}}},
		{"upload", "upload", Upload{UploadURL: "http://127.0.0.1:8010/_put/uploads/t/bob-ross.zip?expires=1", ServingURL: "http://127.0.0.1:8010/serving/t/bob-ross.zip"}},
		{"upload-train", "upload", Upload{UploadURL: "http://127.0.0.1:8010/_put/uploads/t/bob-ross.zip?expires=1", ServingURL: "http://127.0.0.1:8010/serving/t/bob-ross.zip", Prediction: &waitingView}},
		{"account", "account", Account{Type: "user", Username: "me", Name: "me"}},
		{"page", "page", Page{Next: &next, Results: []any{drawn.View("")}}},
		{"problem", "problem", Problem{Title: "Not found", Detail: "The requested resource could not be found.", Status: 404}},
		{"problem-input", "problem", Problem{Title: "Input validation failed", Detail: "- input.seed: Invalid type. Expected: integer, given: null\n", Status: 422, InvalidFields: []InvalidField{{"invalid_type", "input.seed", "Invalid type. Expected: integer, given: null"}}}},
		{"run-job", "run_job", NewRunJob("abcdefghijklmnopqrstuvwxyz")},
		{"deliver-webhook", "deliver", Deliver{Type: TypeWebhook, ID: "abcdefghijklmnopqrstuvwxyz"}},
		{"deliver-announce", "deliver", Deliver{Type: TypeAnnounce, ID: "abcdefghijklmnopqrstuvwxyz"}},
		{"output-created", "output_created", drawn.Announcements()[0]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Marshal(tt.value)
			if err != nil {
				t.Fatal(err)
			}
			validate(t, tt.schema, got)
			golden(t, tt.name, got)
		})
	}
}

func sampleJobView(j Job) Prediction { return j.View("") }

// golden compares JSON, indented, with samples/name.json.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("samples", name+".json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs from the golden sample; got\n%s", path, b.Bytes())
	}
}

// TestSamplesRead holds that the stored record and the messages survive being read and written.
func TestSamplesRead(t *testing.T) {
	for name, into := range map[string]any{
		"job-starting": &Job{}, "job-waiting": &Job{}, "job-processing": &Job{}, "job-succeeded": &Job{},
		"run-job": &RunJob{}, "deliver-webhook": &Deliver{}, "output-created": &OutputCreated{}, "problem-input": &Problem{},
	} {
		t.Run(name, func(t *testing.T) {
			sample, err := os.ReadFile(filepath.Join("samples", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			d := json.NewDecoder(bytes.NewReader(sample))
			d.DisallowUnknownFields()
			if err := d.Decode(into); err != nil {
				t.Fatal(err)
			}
			got, err := Marshal(into)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			if err := json.Compact(&want, sample); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want.Bytes()) {
				t.Errorf("got\n%s\nwant\n%s", got, want.Bytes())
			}
		})
	}
}

// TestNotificationSamples holds the samples of S3's notifications to their schema.
func TestNotificationSamples(t *testing.T) {
	names, err := filepath.Glob("samples/s3-*.json")
	if err != nil || len(names) != 4 {
		t.Fatalf("samples: %v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		validate(t, "s3_notification", b)
	}
}

// TestJobSchemaCoversJob holds the schema to every field of the record, by refusing unknown ones.
func TestJobSchemaCoversJob(t *testing.T) {
	j := sampleTraining()
	j.Training, j.Destination, j.WaitsFor, j.Error, j.NewVersion, j.Deleted, j.Crashes, j.HandBacks, j.Checkpoint = true, "me/x", "k", "e", "me/x:1", true, 1, 1, "c"
	j.Lease, j.Webhook = &Lease{"h", noon}, &Webhook{"https://example.com", WebhookEvents}
	j.Outputs = []OutputObject{{"k", 1, "s", "t"}}
	j.QueuedAt, j.StartedAt, j.CompletedAt, j.CancelAfter = noon, noon, noon, noon
	j.Progress.Loss = 0.5
	b, err := Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	validate(t, "job", b)
	if len(b) > 100<<10 {
		t.Errorf("a record of %d bytes", len(b))
	}
}
