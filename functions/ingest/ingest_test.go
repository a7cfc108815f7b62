package ingest_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T) infra.Ports {
	t.Helper()
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Ports()
}

// waiting stores an upload with that content and a training that waits for it.
func waiting(t *testing.T, p infra.Ports, content []byte) (events.JobID, events.ObjectCreated) {
	t.Helper()
	token := events.NewSecret()
	key := events.UploadKey(token, "é x.zip")
	now := events.At(p.Clock.Now())
	if err := registry.Open(p.Documents).AddUpload(t.Context(), registry.Upload{Token: token, Owner: "me", Name: "é x.zip", Key: key, CreatedAt: now}); err != nil {
		t.Fatal(err)
	}
	j := events.Job{ID: events.JobID(events.NewID()), Owner: "me", Program: events.ProgramTraining, Status: events.Starting, CreatedAt: now, WaitsFor: key,
		Sources: []events.Source{{URL: "u", Key: key, Name: "é x.zip"}}}
	if err := predictions.New(p).Create(t.Context(), &j); err != nil {
		t.Fatal(err)
	}
	info, err := p.Blobs.Put(t.Context(), key, bytes.NewReader(content), infra.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return j.ID, events.ObjectCreated{Bucket: "b", Key: key, Generation: info.Generation, Size: info.Size, ETag: info.ETag, Time: now}
}

func TestHandle(t *testing.T) {
	zip := apitest.Zip(1)
	for name, tt := range map[string]struct {
		content []byte
		limit   int64
		status  events.Status
		reason  string
	}{
		"OK":        {zip, 1 << 20, events.Starting, ""},
		"ErrPage":   {[]byte("<html><body>sign in</body></html>"), 1 << 20, events.Failed, "web page"},
		"ErrOther":  {[]byte("Rar!\x1a\x07"), 1 << 20, events.Failed, "no zip"},
		"ErrEmpty":  {nil, 1 << 20, events.Failed, "empty"},
		"ErrTooBig": {zip, 10, events.Failed, "at most 10"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			id, o := waiting(t, p, tt.content)
			in := ingest.New(p, tt.limit, quiet)
			for range 3 { // it may come again
				if err := in.Handle(t.Context(), events.S3Notification(o, o)); err != nil {
					t.Fatal(err)
				}
			}
			j, err := predictions.New(p).Load(t.Context(), id)
			if err != nil || j.Status != tt.status || !strings.Contains(j.Error, tt.reason) {
				t.Errorf("got %s %q, %v", j.Status, j.Error, err)
			}
			token, _, _ := events.ParseUploadKey(o.Key)
			u, err := registry.Open(p.Documents).Upload(t.Context(), token)
			if err != nil || u.ETag != o.ETag || u.Size != o.Size || u.ReceivedAt.IsZero() {
				t.Errorf("the upload is not marked: %+v, %v", u, err)
			}
			depth, err := p.Queues.Queue(infra.TrainingQueue).Depth(t.Context())
			if want := map[bool]int{true: 1}[tt.status == events.Starting]; err != nil || depth.Waiting != want {
				t.Errorf("%d messages, want %d, %v", depth.Waiting, want, err)
			}
		})
	}
}

// TestHandleSamples holds that each form of S3's notifications is taken, also for uploads that are not
// known, and that what is none is dropped.
func TestHandleSamples(t *testing.T) {
	in := ingest.New(open(t), 1<<30, quiet)
	for _, name := range []string{"s3-put", "s3-several", "s3-eventbridge", "s3-test-event"} {
		b, err := os.ReadFile("../../events/samples/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Handle(t.Context(), b); err != nil {
			t.Errorf("%s would come again: %v", name, err)
		}
	}
	if err := in.Handle(t.Context(), []byte("nonsense")); err != nil {
		t.Errorf("nonsense would come again: %v", err)
	}
}
